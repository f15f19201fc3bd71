"""SPINE datagrams to and from the payload of a SHIP data message.

A datagram has a header and one command: the name of a function with its data, and for restricted exchange
`function` and `filter`. Lists of objects are lists of lists on the wire.
"""

from __future__ import annotations

import enum
import re
from typing import Any, TypeVar

import msgspec

from drivers.eebus import array_json
from drivers.eebus.array_json import EebusError
from drivers.eebus.spine_types import (
    HIGHEST_COUNTER,
    VERSION,
    Element,
    FeatureAddress,
    Filter,
    Header,
    ResultData,
)

T = TypeVar("T", bound=Element)

MOST_FILTERS = 16

_COMPATIBLE = re.compile(r"1\.[0-9]{1,9}\.[0-9]{1,9}")
"""Versions that are answered: of our major version, however new."""


class ErrorNumber(enum.IntEnum):
    """Results of SPINE."""

    NONE = 0
    GENERAL = 1
    TIMEOUT = 2
    OVERLOAD = 3
    DESTINATION_UNKNOWN = 4
    NOT_SUPPORTED = 6
    REJECTED = 7
    FILTER_NOT_SUPPORTED = 8
    BINDING_NEEDED = 9


class SpineError(EebusError):
    """Command that is answered by an error. Its text is sent as the description."""

    def __init__(self, number: ErrorNumber, reason: str) -> None:
        super().__init__(reason)
        self.number = number


class Datagram(msgspec.Struct, frozen=True):
    """Received datagram; `commands` in array form still."""

    header: Header
    commands: Any


class Command(msgspec.Struct, frozen=True):
    """Function with its data, in array form still, and the filters of a restricted exchange.

    `data` None: the command has filters alone.
    """

    function: str
    filters: tuple[Filter, ...] = ()
    data: Any = None

    def convert(self, type_: type[T]) -> T:
        """Return the data as an element. Raises SpineError."""
        try:
            return array_json.convert([] if self.data is None else self.data, type_)
        except EebusError as error:
            raise SpineError(ErrorNumber.GENERAL, f"{self.function}: {error}") from error


def decode_datagram(payload: object) -> Datagram:
    """Decode a payload in array form. Raises EebusError if no sender could be answered."""
    datagram = _member(payload, "datagram")
    members = dict(array_json.members_of(datagram, "datagram"))
    header = array_json.convert(members.get("header"), Header)
    if max(header.msg_counter, header.msg_counter_reference or 0) > HIGHEST_COUNTER:
        raise EebusError("msgCounter is above 2^64 - 1")
    body = dict(array_json.members_of(members.get("payload", []), "payload"))
    return Datagram(header, body.get("cmd"))


def is_compatible(version: str | None) -> bool:
    """Return True for a specification version that is answered."""
    return version is not None and _COMPATIBLE.fullmatch(version) is not None


def decode_command(commands: object, known: frozenset[str]) -> Command:
    """Decode the one command of a datagram; of several functions, the one that is `known`.

    Raises SpineError.
    """
    if not isinstance(commands, list) or len(commands) != 1:
        raise SpineError(ErrorNumber.GENERAL, "a datagram has one command")
    try:
        members = dict(array_json.members_of(commands[0], "cmd"))
    except EebusError as error:
        raise SpineError(ErrorNumber.GENERAL, str(error)) from error
    named, filters = members.pop("function", None), members.pop("filter", None)
    functions = [name for name in members if name in known] or list(members)[:1]
    if filters is not None and not isinstance(named, str):
        raise SpineError(ErrorNumber.REJECTED, "a filter without the name of its function")
    if len(functions) > 1:
        raise SpineError(ErrorNumber.GENERAL, "a command with several functions")
    if not functions:
        if not isinstance(named, str):
            raise SpineError(ErrorNumber.NOT_SUPPORTED, "a command without function")
        return Command(named, _filters(filters))
    function = functions[0]
    if named not in (None, function):
        raise SpineError(ErrorNumber.REJECTED, f"function is {named!r:.60}, the data is {function!r:.60}")
    return Command(function, _filters(filters), members[function])


def encode_datagram(header: Header, commands: dict[str, Element]) -> bytes:
    """Encode a datagram with one command as the payload of a SHIP data message."""
    command = [{name: array_json.to_array(element)} for name, element in commands.items()]
    datagram = [{"header": array_json.to_array(header)}, {"payload": [{"cmd": [command]}]}]
    return msgspec.json.encode([{"datagram": datagram}])


def make_header(
    source: FeatureAddress,
    destination: FeatureAddress,
    counter: int,
    classifier: str,
    *,
    reference: int | None = None,
    ack_request: bool | None = None,
) -> Header:
    """Return the header of a datagram of ours."""
    return Header(
        specification_version=VERSION,
        address_source=source,
        address_destination=destination,
        msg_counter=counter,
        msg_counter_reference=reference,
        cmd_classifier=classifier,
        ack_request=ack_request,
    )


def make_result(number: ErrorNumber, description: str = "") -> ResultData:
    """Return a result; the description is left out where there is none."""
    return ResultData(error_number=int(number), description=description or None)


def _filters(filters: object) -> tuple[Filter, ...]:
    if filters is None:
        return ()
    if not isinstance(filters, list) or len(filters) > MOST_FILTERS:
        raise SpineError(ErrorNumber.FILTER_NOT_SUPPORTED, "invalid list of filters")
    try:
        return tuple(array_json.convert(each, Filter) for each in filters)
    except EebusError as error:
        raise SpineError(ErrorNumber.FILTER_NOT_SUPPORTED, f"filter: {error}") from error


def _member(value: object, name: str) -> object:
    members = dict(array_json.members_of(value, "payload"))
    if name not in members:
        raise EebusError(f"a payload without {name}")
    return members[name]
