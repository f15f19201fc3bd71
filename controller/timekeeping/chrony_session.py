"""One check of chronyd as a dialogue of requests and replies, and the reading that follows from it.

    session = ChronySession()
    while (request := session.next_request()) is not None:
        session.on_reply(exchange(request))
    reading = session.reading()

A reply lost or of another request is the caller's matter: it times out and reports the failure.
"""

from __future__ import annotations

from collections import deque

from controller.timekeeping.chrony_protocol import (
    NOT_SYNCHRONISED,
    AuthenticationData,
    AuthenticationMode,
    ChronyCommand,
    ChronyError,
    SourceData,
    SourceState,
    Tracking,
    index_content,
    read_authentication,
    read_count,
    read_name,
    read_reply,
    read_source,
    read_tracking,
    write_request,
)
from controller.timekeeping.clock_status import ClockReading, ServerReading
from drivers.coded_text import coded

MAX_SOURCES = 64
_AGREEING = (SourceState.SELECTED, SourceState.UNSELECTED)
"""`unselected` sources were combined with the selected one; a merely selectable one was left out."""

_Ask = tuple[ChronyCommand, bytes]


class ChronySession:
    """Requests of one check, in order."""

    def __init__(self, first_sequence: int = 1) -> None:
        self._sequence = first_sequence
        self._queue: deque[_Ask] = deque([(ChronyCommand.TRACKING, b""), (ChronyCommand.SOURCE_COUNT, b"")])
        self._tracking: Tracking | None = None
        self._sources: list[SourceData] = []
        self._authentication: dict[bytes, AuthenticationData] = {}
        self._names: dict[bytes, str] = {}

    def next_request(self) -> bytes | None:
        """Return the datagram to be sent; None if the check is complete."""
        if not self._queue:
            return None
        command, content = self._queue[0]
        return write_request(command, self._sequence, content)

    def on_reply(self, data: bytes) -> None:
        """Take the reply to the last request. Raises ChronyError."""
        command, asked = self._queue[0]
        content = read_reply(command, self._sequence, data)
        self._queue.popleft()
        self._sequence += 1
        match command:
            case ChronyCommand.TRACKING:
                self._tracking = read_tracking(content)
            case ChronyCommand.SOURCE_COUNT:
                count = min(read_count(content), MAX_SOURCES)
                self._queue.extend((ChronyCommand.SOURCE_DATA, index_content(each)) for each in range(count))
            case ChronyCommand.SOURCE_DATA:
                source = read_source(content)
                self._sources.append(source)
                if source.address is not None:
                    self._queue.append((ChronyCommand.AUTHENTICATION, source.raw_address))
                    self._queue.append((ChronyCommand.SOURCE_NAME, source.raw_address))
            case ChronyCommand.AUTHENTICATION:
                self._authentication[asked] = read_authentication(content)
            case ChronyCommand.SOURCE_NAME:
                self._names[asked] = read_name(content)

    def reading(self) -> ClockReading:
        """Return what chronyd reports. Raises ChronyError if the check is not complete."""
        if self._tracking is None or self._queue:
            raise ChronyError(coded("chronyd did not answer all requests"))
        tracking = self._tracking
        return ClockReading(
            source="chrony",
            synchronised=tracking.leap_status != NOT_SYNCHRONISED and tracking.stratum > 0,
            error_bound_s=tracking.error_bound_s,
            servers=tuple(self._server(each) for each in self._sources),
        )

    def _server(self, source: SourceData) -> ServerReading:
        authentication = self._authentication.get(source.raw_address)
        return ServerReading(
            name=self._names.get(source.raw_address) or source.address or "reference clock",
            agrees=source.state in _AGREEING and source.reach != 0,
            # Without a cookie no packet can be authenticated: the key exchange has failed.
            authenticated=(
                authentication is not None
                and authentication.mode is AuthenticationMode.NTS
                and authentication.cookies > 0
            ),
            sample_age_s=float(source.since_sample_s),
        )
