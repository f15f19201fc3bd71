"""Commands as sentences for people: the lines of the audit. Without secrets and identities of drivers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from controller.commands import site_command as commands
from controller.model.statements import Statement, StatementCode

VERSION_DIGITS = 12
"""Digits of a version's hash that name it."""


def describe_command(command: commands.SiteCommand) -> Statement:
    """Return what a command does."""
    return _DESCRIBED[type(command)](command)


def describe_password_change(user: str) -> Statement:
    """Return the change of a user's own password, which is no command."""
    return Statement(code=StatementCode.PASSWORD_CHANGED, name=user)


def _place(command: Any) -> str:
    return command.station if command.evse is None else f"{command.station}/{command.evse}"


def _of(code: StatementCode, **values: str) -> Callable[[Any], Statement]:
    """Return a function that describes a command; `values`: members by those of the statement."""
    return lambda command: Statement(
        code=code, **{value: getattr(command, member) for value, member in values.items()}
    )


def _of_evse(code: StatementCode, **values: str) -> Callable[[Any], Statement]:
    """Return the same for a command to an EVSE, which the statement names."""
    describe = _of(code, **values)
    return lambda command: msgspec.structs.replace(describe(command), name=_place(command))


def _departure(command: commands.SetDeparture) -> Statement:
    return Statement(
        code=StatementCode.DEPARTURE_SET,
        name=_place(command),
        energy_wh=1000 * command.energy_kwh,
        duration_s=command.leaves_in_s,
    )


def _departures(command: commands.SetDepartures) -> Statement:
    return Statement(code=StatementCode.DEPARTURES_SET, count=len(command.departures))


def _prices(command: commands.SetPrices) -> Statement:
    return Statement(code=StatementCode.PRICES_SET, count=len(command.prices))


def _reset(command: commands.ResetStation) -> Statement:
    code = StatementCode.RESET_HARD if command.mode == "hard" else StatementCode.RESET_SOFT
    return Statement(code=code, name=command.station)


def _rollback(command: commands.RollBackConfiguration) -> Statement:
    return Statement(code=StatementCode.FILE_ROLLED_BACK, name=command.version[:VERSION_DIGITS])


def _register(command: commands.RegisterPartners) -> Statement:
    if not command.seconds:
        return Statement(code=StatementCode.PARTNERS_NOT_ACCEPTED)
    return Statement(code=StatementCode.PARTNERS_ACCEPTED, duration_s=command.seconds)


def _token(command: commands.CreateToken) -> Statement:
    return Statement(code=StatementCode.TOKEN_CREATED, name=command.token, detail=" ".join(command.scopes))


_MESSAGE = {"name": "station", "count": "number", "detail": "backend"}

_DESCRIBED: dict[type[commands.SiteCommand], Callable[[Any], Statement]] = {
    commands.PauseEvse: _of_evse(StatementCode.PAUSED_BY_PERSON, duration_s="duration_s"),
    commands.ResumeEvse: _of_evse(StatementCode.RESUMED_BY_PERSON),
    commands.LimitEvse: _of_evse(
        StatementCode.LIMITED_BY_PERSON, current_a="limit_a", duration_s="duration_s"
    ),
    commands.PrioritizeEvse: _of_evse(StatementCode.PRIORITIZED, count="priority", duration_s="duration_s"),
    commands.BoostEvse: _of_evse(StatementCode.BOOSTED_BY_PERSON, duration_s="duration_s"),
    commands.SetDeparture: _departure,
    commands.SetDepartures: _departures,
    commands.SetPrices: _prices,
    commands.StartTransaction: _of_evse(StatementCode.CHARGING_STARTED),
    commands.StopTransaction: _of_evse(StatementCode.CHARGING_STOPPED),
    commands.ResetStation: _reset,
    commands.ReconnectStation: _of(StatementCode.RECONNECTED, name="station"),
    commands.AdoptStation: _of(StatementCode.ADOPTED, name="station", circuit="circuit", current_a="max_a"),
    commands.DismissStation: _of(StatementCode.DISMISSED, name="station"),
    commands.ReloadConfiguration: _of(StatementCode.FILE_READ_AGAIN),
    commands.WriteConfiguration: _of(StatementCode.FILE_WRITTEN),
    commands.RollBackConfiguration: _rollback,
    commands.ResumeSigning: _of(StatementCode.SIGNING_RESUMED),
    commands.RetryMessage: _of(StatementCode.MESSAGE_RETRIED, **_MESSAGE),
    commands.DropMessage: _of(StatementCode.MESSAGE_DROPPED, **_MESSAGE),
    commands.PairPartner: _of(StatementCode.PARTNER_TRUSTED, name="ski"),
    commands.UnpairPartner: _of(StatementCode.PARTNER_REMOVED, name="ski"),
    commands.RegisterPartners: _register,
    commands.SuspendLimits: _of(StatementCode.LIMITS_SUSPENDED, detail="reason"),
    commands.ResumeLimits: _of(StatementCode.LIMITS_RESUMED),
    commands.AddUser: _of(StatementCode.USER_SET, name="user", detail="role"),
    commands.RemoveUser: _of(StatementCode.USER_REMOVED, name="user"),
    commands.CreateToken: _token,
    commands.RevokeToken: _of(StatementCode.TOKEN_REVOKED, name="token"),
}
