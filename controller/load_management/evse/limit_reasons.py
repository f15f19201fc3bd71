"""Reasons of an EVSE's limit, as statements."""

from __future__ import annotations

from controller.model.statements import Statement, StatementCode

LimitReason = Statement
"""Statement why an EVSE has its limit."""
RISING = Statement(code=StatementCode.RISING)
STEP_FOR_METER = Statement(code=StatementCode.STEP_FOR_METER)
STEP_FOR_PHASES = Statement(code=StatementCode.STEP_FOR_PHASES)
NOT_PLANNED = Statement(code=StatementCode.NOT_PLANNED)
NO_CAR = Statement(code=StatementCode.NO_CAR)
UNAUTHORIZED = Statement(code=StatementCode.UNAUTHORIZED)
CAR_ON_ONE_PHASE = Statement(code=StatementCode.CAR_ON_ONE_PHASE)
ALL_ITS_CAR_TAKES = Statement(code=StatementCode.ALL_ITS_CAR_TAKES)
CAR_TAKES_NOTHING = Statement(code=StatementCode.CAR_TAKES_NOTHING)
DRAW_NOT_REPORTED = Statement(code=StatementCode.DRAW_NOT_REPORTED)
STATE_NOT_REPORTED = Statement(code=StatementCode.STATE_NOT_REPORTED)


def explain_backend_limit(limit_a: float | None, limit_w: float | None) -> Statement:
    """Return the limit of its backend, in A per phase or in W of all phases."""
    if limit_a is not None:
        return Statement(code=StatementCode.BACKEND_LIMIT_A, current_a=limit_a)
    return Statement(code=StatementCode.BACKEND_LIMIT_W, power_w=limit_w)


def explain_fallback(trouble: Statement) -> Statement:
    """Return that it keeps to its fallback because of trouble with a meter above it."""
    return Statement(code=StatementCode.AT_FALLBACK, cause=trouble)


def explain_start(trouble: Statement) -> Statement:
    """Return that it is offered its minimum to show whether trouble with a meter above it has ended."""
    return Statement(code=StatementCode.SHOWS_METER, cause=trouble)


def explain_switch(*, to_single: bool) -> Statement:
    """Return that it pauses to change its number of phases."""
    return Statement(code=StatementCode.TO_ONE_PHASE if to_single else StatementCode.TO_ALL_PHASES)


def explain_kept_free(problem: Statement, booked_a: float) -> Statement:
    """Return that current is kept free for an EVSE that cannot be commanded (A per phase)."""
    return Statement(code=StatementCode.KEPT_FREE, cause=problem, current_a=booked_a)


def explain_disobedience(drawn_a: float, offered_a: float) -> Statement:
    """Return that it draws more than it is offered (A per phase)."""
    return Statement(code=StatementCode.DISOBEYS, drawn_a=float(round(drawn_a)), current_a=offered_a)


def explain_one_phase(reason: Statement) -> Statement:
    """Return a reason that holds on one phase alone."""
    return Statement(code=StatementCode.ON_ONE_PHASE, cause=reason)
