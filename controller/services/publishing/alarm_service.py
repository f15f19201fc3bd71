"""Alarms at work: found in each sample of the status, logged, kept as events and passed on."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import trio

from controller.model.statements import Statement, StatementCode
from controller.web.alarm_model import AlarmBook, AlarmChange, Severity, find_conditions
from controller.web.site_interface import EventEntry
from controller.web.status_model import AlarmStatus, ControllerStatus

log = logging.getLogger("controller.alarm")

MOST_EVENTS = 500

OnAlarm = Callable[[AlarmChange], None]


class AlarmService:
    """The alarms of a site. `listeners` get each alarm that begins or ends."""

    def __init__(self, utc: Callable[[], float] = time.time) -> None:
        self.listeners: list[OnAlarm] = []
        self._utc = utc
        self._book = AlarmBook()
        self._events: deque[EventEntry] = deque(maxlen=MOST_EVENTS)
        self.reported = 0
        """Number of beginnings and ends since the start."""

    @property
    def present(self) -> tuple[AlarmStatus, ...]:
        """Return the alarms that are present, the most severe first."""
        return self._book.present

    @property
    def events(self) -> Sequence[EventEntry]:
        """Return the beginnings and ends of alarms since the start, the oldest first."""
        return tuple(self._events)

    def on_status(self, status: ControllerStatus) -> None:
        """Find the alarms of now."""
        utc = self._utc()
        conditions = find_conditions(status, utc)
        for change in self._book.update(conditions, trio.current_time(), utc):
            self._report(change, utc)

    def _report(self, change: AlarmChange, utc: float) -> None:
        alarm = change.alarm
        is_loud = not change.has_ended and alarm.severity != Severity.INFO
        log.log(
            logging.WARNING if is_loud else logging.INFO,
            'alarm %s kind=%s subject="%s" severity=%s text="%s" remedy="%s"',
            "ended" if change.has_ended else "began",
            alarm.kind,
            alarm.subject,
            alarm.severity,
            alarm.text.replace('"', "'"),
            alarm.remedy.replace('"', "'"),
        )
        statement = alarm.statement
        if change.has_ended:
            statement = Statement(code=StatementCode.ENDED, cause=statement)
        self.reported += 1
        self._events.append(
            EventEntry(
                time=datetime.fromtimestamp(utc, UTC).isoformat(timespec="seconds"),
                severity="info" if change.has_ended else alarm.severity,
                text=str(statement),
                statement=statement,
            )
        )
        for listener in self.listeners:
            listener(change)
