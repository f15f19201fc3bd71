"""Errors of the drivers, and the cause that each one stands for."""

from __future__ import annotations

import enum


class Cause(enum.StrEnum):
    """Cause of a meter's or module's trouble, as a label of metrics: few values, each with one remedy."""

    NONE = "none"
    NOT_READ = "not_read"
    """No poll has been completed yet."""
    UNREACHABLE = "unreachable"
    """The serial port cannot be opened, or the host does not accept the connection."""
    CONNECTION_CLOSED = "connection_closed"
    """The peer closed the connection, or the adapter was unplugged."""
    TLS = "tls"
    """The TLS handshake failed, or the peer rejected our certificate."""
    ROLE = "role"
    """The role in our certificate does not allow reading (Modbus/TCP Security)."""
    NO_ANSWER = "no_answer"
    CORRUPT_ANSWER = "corrupt_answer"
    """Bytes arrive, but no valid answer: checksum, length, noise, or another protocol."""
    WRONG_ANSWER = "wrong_answer"
    """Valid answers of another unit or to another request."""
    REFUSED = "refused"
    """The device answers exception 1 to 4: it does not have what is read."""
    BUSY = "busy"
    """The device or gateway answers exception 5 or 6."""
    GATEWAY = "gateway"
    """The gateway answers exception 10 or 11: the meter behind it is not reached."""
    WRONG_DEVICE = "wrong_device"
    """The device does not have the SunSpec model, or another layout of it."""
    AMBIGUOUS = "ambiguous"
    """Several meters on the device, and the configuration does not name one."""
    MISSING_VALUE = "missing_value"
    IMPOSSIBLE_VALUE = "impossible_value"
    """A value is out of any range, or contradicts the others."""
    FROZEN = "frozen"
    """All values repeat to the last bit under load."""
    SOURCE = "source"
    """A meter that a virtual meter is computed from is in trouble."""
    NOT_REPORTED = "not_reported"
    """A station whose own values make the meter is away, or has not sent any for too long."""


class DriverError(Exception):
    """Base of all errors of the drivers. Its text is a sentence for a person, with the remedy."""

    cause = Cause.NONE

    def __init__(self, text: str, cause: Cause | None = None) -> None:
        super().__init__(text)
        if cause is not None:
            self.cause = cause


class ModelFileError(DriverError):
    """A model file that cannot be used. Its text names the file, the place and the remedy."""


class BusError(DriverError):
    """The bus cannot be used: its port, connection or TLS session failed."""

    cause = Cause.UNREACHABLE


class ModbusAnswerError(DriverError):
    """No valid answer came within the time limit."""

    cause = Cause.NO_ANSWER


class DeviceRefusedError(DriverError):
    """The device answered a necessary read with an exception."""

    cause = Cause.REFUSED


class SunSpecError(DriverError):
    """The device does not have the SunSpec model in a layout that is known."""

    cause = Cause.WRONG_DEVICE


class InputError(DriverError):
    """Digital inputs that cannot be read."""
