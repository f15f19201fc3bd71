"""Commands to the site: one type each, the same over control socket, REST, MQTT and page.

    command = convert_command({"command": "station.pause", "station": "CS01", "duration_s": 600})
    command.permission          # stations:run

A command without `evse` is for all EVSEs of its station.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from controller.access.permissions import AccessPermission, Resource, Verb

LONGEST_S = 7 * 86_400.0
"""Longest time for which a person may override the load management."""

StationId = Annotated[str, Meta(min_length=1, max_length=48)]
EvseNumber = Annotated[int, Meta(ge=1, le=999)]
Duration = Annotated[float, Meta(gt=0, le=LONGEST_S, description="s, at most 7 days")]
_NAME_PATTERN = "^[a-zA-Z0-9][a-zA-Z0-9._@-]{0,47}$"
_TIME_PATTERN = r"^\d\d:\d\d$"
_FORMS = {
    _NAME_PATTERN: "1 to 48 letters, digits or . _ @ - that begin with a letter or digit",
    _TIME_PATTERN: "a time like 06:30",
}
"""Patterns of members in words, for people."""
UserName = Annotated[str, Meta(pattern=_NAME_PATTERN)]
Ski = Annotated[str, Meta(min_length=1, max_length=128)]


class CommandFormatError(Exception):
    """A text is no command. The message names the member and what is wrong with it."""


class SiteCommand(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="command"):
    """Base of all commands. `permission` is what the actor needs."""

    permission: ClassVar[AccessPermission]

    @property
    def name(self) -> str:
        """Return the name of the command, e.g. station.pause."""
        return str(self.__struct_config__.tag)

    @property
    def subject(self) -> str:
        """Return the command's members as key=value, without secrets and drivers' identities."""
        members = msgspec.to_builtins(self)
        return " ".join(
            f"{key}={value}"
            for key, value in members.items()
            if key not in PRIVATE_MEMBERS and key != "command" and value not in (None, ())
        )


PRIVATE_MEMBERS = frozenset({"id_token", "text", "password", "prices", "departures"})
"""Members that appear in no log and no audit: secrets, identities of drivers, and long lists."""

_RUN_STATIONS = AccessPermission(Resource.STATIONS, Verb.RUN)
_EDIT_CONFIGURATION = AccessPermission(Resource.CONFIGURATION, Verb.EDIT)
_RUN_OUTBOX = AccessPermission(Resource.OUTBOX, Verb.RUN)
_EDIT_USERS = AccessPermission(Resource.USERS, Verb.EDIT)
_EDIT_EEBUS = AccessPermission(Resource.EEBUS, Verb.EDIT)


class _StationCommand(SiteCommand, frozen=True, kw_only=True):
    """Command to a station, with the permission to run stations."""

    permission: ClassVar[AccessPermission] = _RUN_STATIONS
    station: StationId


class _EvseCommand(_StationCommand, frozen=True, kw_only=True):
    """Command to an EVSE; None: to all EVSEs of the station."""

    evse: EvseNumber | None = None


class _CarCommand(_StationCommand, frozen=True, kw_only=True):
    """Command about the car at one EVSE."""

    evse: EvseNumber = 1


class _MessageCommand(SiteCommand, frozen=True, kw_only=True):
    """Command about a message of a station that a backend has rejected."""

    station: StationId
    backend: Annotated[str, Meta(min_length=1, max_length=48)]
    number: Annotated[int, Meta(ge=0, le=2**53)]


class PauseEvse(_EvseCommand, frozen=True, kw_only=True, tag="station.pause"):
    """Give an EVSE no current until it is resumed or the time is over."""

    duration_s: Duration = 86_400.0


class ResumeEvse(_EvseCommand, frozen=True, kw_only=True, tag="station.resume"):
    """End a pause, a manual limit, a priority or a boost."""


class LimitEvse(_EvseCommand, frozen=True, kw_only=True, tag="station.limit"):
    """Limit an EVSE to a current (A per phase) for a time, below what the load management gives it."""

    limit_a: Annotated[float, Meta(ge=0, le=1000, description="A per phase")]
    duration_s: Duration


class PrioritizeEvse(_EvseCommand, frozen=True, kw_only=True, tag="station.prioritize"):
    """Serve an EVSE with this priority for a time; the highest is served first."""

    priority: Annotated[int, Meta(ge=-1000, le=1000)]
    duration_s: Duration = 43_200.0


class BoostEvse(_EvseCommand, frozen=True, kw_only=True, tag="station.boost"):
    """Charge as fast as the circuits allow for a time: before all others, and not only with surplus."""

    duration_s: Duration = 14_400.0


class SetDeparture(_CarCommand, frozen=True, kw_only=True, tag="energy.departure"):
    """Set by when the car at an EVSE needs how much energy, from now on (kWh, s)."""

    energy_kwh: Annotated[float, Meta(gt=0, le=1000, description="kWh from now on")]
    leaves_in_s: Duration


class PlannedDeparture(msgspec.Struct, frozen=True, kw_only=True):
    """By when the cars of a station, of a card or of a class of cards must have how much energy.

    `station`: STATION or STATION/EVSE, all without one. `card`: label or idToken. `day`: mon ... sun or a
    date, every day without one. `ready_by`: time by the site's clock.
    """

    station: Annotated[str, Meta(max_length=96)] = ""
    card: Annotated[str, Meta(max_length=48)] = ""
    priority_class: Annotated[str, Meta(max_length=48)] = ""
    day: Annotated[str, Meta(max_length=10)] = ""
    ready_by: Annotated[str, Meta(pattern=_TIME_PATTERN)]
    energy_kwh: Annotated[float, Meta(gt=0, le=1000, description="kWh from the begin of a session")]


class SetDepartures(SiteCommand, frozen=True, kw_only=True, tag="energy.departures"):
    """Replace the departures that programs have set, beside those of the configuration and its file."""

    permission: ClassVar[AccessPermission] = AccessPermission(Resource.STATIONS, Verb.EDIT)
    departures: Annotated[tuple[PlannedDeparture, ...], Meta(max_length=2000)]


class PricePoint(msgspec.Struct, frozen=True, kw_only=True):
    """Price of a kWh from a moment on: a time with its zone as in CSV files, 2026-11-27T06:00+01:00."""

    begin: Annotated[str, Meta(max_length=40, extra_json_schema={"examples": ["2026-11-27T06:00+01:00"]})]
    price: Annotated[float, Meta(ge=-1000, le=1000)]


class SetPrices(SiteCommand, frozen=True, kw_only=True, tag="energy.prices"):
    """Replace the prices of energy; the last one holds for a step of equal ones, an hour at most."""

    permission: ClassVar[AccessPermission] = AccessPermission(Resource.STATIONS, Verb.EDIT)
    prices: Annotated[tuple[PricePoint, ...], Meta(min_length=1, max_length=2000)]


class StartTransaction(_CarCommand, frozen=True, kw_only=True, tag="station.start"):
    """Start a transaction remotely for a card (OCPP RemoteStartTransaction, RequestStartTransaction).

    `id_token`: an idToken, or the label of a card in the configuration. Without one, a station of the
    local CSMS gets a token that is accepted for this start alone.
    """

    id_token: Annotated[str, Meta(min_length=1, max_length=48)] | None = None


class StopTransaction(_CarCommand, frozen=True, kw_only=True, tag="station.stop"):
    """Stop the transaction of an EVSE remotely."""


class ResetStation(_StationCommand, frozen=True, kw_only=True, tag="station.reset"):
    """Restart a station: soft ends transactions in order (2.x: when they are over), hard does it at once."""

    mode: Literal["soft", "hard"] = "soft"


class ReconnectStation(_StationCommand, frozen=True, kw_only=True, tag="station.reconnect"):
    """Close the connection of a station, so that it connects again."""


class AdoptStation(SiteCommand, frozen=True, kw_only=True, tag="station.adopt"):
    """Add a station that has tried to connect to the configuration, on a circuit and phases."""

    permission: ClassVar[AccessPermission] = _EDIT_CONFIGURATION
    station: StationId
    circuit: Annotated[str, Meta(min_length=1, max_length=48)]
    phases: tuple[Literal["L1", "L2", "L3"], ...] = ("L1", "L2", "L3")
    max_a: Annotated[float, Meta(ge=6, le=1000)] = 32.0
    owner: str | None = None
    label: Annotated[str, Meta(max_length=60)] = ""
    steuve: bool = False


class DismissStation(SiteCommand, frozen=True, kw_only=True, tag="station.dismiss"):
    """Remove a station that has tried to connect from the list."""

    permission: ClassVar[AccessPermission] = _EDIT_CONFIGURATION
    station: StationId


class ReloadConfiguration(SiteCommand, frozen=True, kw_only=True, tag="configuration.reload"):
    """Read the configuration file again and apply what can be applied."""

    permission: ClassVar[AccessPermission] = _EDIT_CONFIGURATION


class WriteConfiguration(SiteCommand, frozen=True, kw_only=True, tag="configuration.write"):
    """Replace the configuration file by a text that passes the check; `base`: the version it is made from."""

    permission: ClassVar[AccessPermission] = _EDIT_CONFIGURATION
    text: Annotated[str, Meta(max_length=1_000_000)]
    base: str


class RollBackConfiguration(SiteCommand, frozen=True, kw_only=True, tag="configuration.rollback"):
    """Write a stored version of the configuration file again."""

    permission: ClassVar[AccessPermission] = _EDIT_CONFIGURATION
    version: Annotated[str, Meta(min_length=64, max_length=64)]


class ResumeSigning(SiteCommand, frozen=True, kw_only=True, tag="signing.resume"):
    """Accept signed messages again after one window, though later ones count as received."""

    permission: ClassVar[AccessPermission] = _EDIT_CONFIGURATION


class RetryMessage(_MessageCommand, frozen=True, kw_only=True, tag="outbox.retry"):
    """Send a message again that a backend has rejected."""

    permission: ClassVar[AccessPermission] = _RUN_OUTBOX


class DropMessage(_MessageCommand, frozen=True, kw_only=True, tag="outbox.drop"):
    """Remove a message that a backend has rejected."""

    permission: ClassVar[AccessPermission] = AccessPermission(Resource.OUTBOX, Verb.EDIT)


class PairPartner(SiteCommand, frozen=True, kw_only=True, tag="eebus.pair"):
    """Trust an EEBUS partner."""

    permission: ClassVar[AccessPermission] = _EDIT_EEBUS
    ski: Ski


class UnpairPartner(SiteCommand, frozen=True, kw_only=True, tag="eebus.unpair"):
    """Trust an EEBUS partner no longer, and disconnect it."""

    permission: ClassVar[AccessPermission] = _EDIT_EEBUS
    ski: Ski


class RegisterPartners(SiteCommand, frozen=True, kw_only=True, tag="eebus.register"):
    """Trust the first EEBUS partner that connects within a time (s); 0 ends it."""

    permission: ClassVar[AccessPermission] = _EDIT_EEBUS
    seconds: Annotated[float, Meta(ge=0, le=3600)]


class SuspendLimits(SiteCommand, frozen=True, kw_only=True, tag="eebus.suspend"):
    """Refuse active EEBUS limits because the site cannot obey them; the reason is recorded."""

    permission: ClassVar[AccessPermission] = _EDIT_EEBUS
    reason: Annotated[str, Meta(min_length=1, max_length=200)]


class ResumeLimits(SiteCommand, frozen=True, kw_only=True, tag="eebus.resume"):
    """Obey EEBUS limits again."""

    permission: ClassVar[AccessPermission] = _EDIT_EEBUS


class AddUser(SiteCommand, frozen=True, kw_only=True, tag="user.add"):
    """Add a user, or set role and password of one; without a password one is generated and returned once."""

    permission: ClassVar[AccessPermission] = _EDIT_USERS
    user: UserName
    role: Annotated[str, Meta(min_length=1, max_length=48)]
    password: Annotated[str, Meta(max_length=128)] | None = None


class RemoveUser(SiteCommand, frozen=True, kw_only=True, tag="user.remove"):
    """Remove a user and end its logins."""

    permission: ClassVar[AccessPermission] = _EDIT_USERS
    user: UserName


class CreateToken(SiteCommand, frozen=True, kw_only=True, tag="token.create"):
    """Make a bearer token for a program; its secret is returned once. `scopes`: permissions it has."""

    permission: ClassVar[AccessPermission] = _EDIT_USERS
    token: UserName
    scopes: Annotated[tuple[Annotated[str, Meta(max_length=40)], ...], Meta(min_length=1, max_length=40)]
    days: Annotated[float, Meta(gt=0, le=3650)] | None = None


class RevokeToken(SiteCommand, frozen=True, kw_only=True, tag="token.revoke"):
    """Revoke a bearer token at once."""

    permission: ClassVar[AccessPermission] = _EDIT_USERS
    token: UserName


AnyCommand = (
    PauseEvse
    | ResumeEvse
    | LimitEvse
    | PrioritizeEvse
    | BoostEvse
    | SetDeparture
    | SetDepartures
    | SetPrices
    | StartTransaction
    | StopTransaction
    | ResetStation
    | ReconnectStation
    | AdoptStation
    | DismissStation
    | ReloadConfiguration
    | WriteConfiguration
    | RollBackConfiguration
    | ResumeSigning
    | RetryMessage
    | DropMessage
    | PairPartner
    | UnpairPartner
    | RegisterPartners
    | SuspendLimits
    | ResumeLimits
    | AddUser
    | RemoveUser
    | CreateToken
    | RevokeToken
)

COMMANDS: dict[str, type[SiteCommand]] = {
    str(kind.__struct_config__.tag): kind for kind in AnyCommand.__args__
}
"""All types of commands by their name."""


class CommandRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """Names by which the sender of a command recognizes its result: its own id, and the command's name."""

    request_id: Annotated[str, Meta(max_length=64)] | int | None = None
    command: Annotated[str, Meta(max_length=64)] | None = None


def read_request(text: bytes) -> tuple[CommandRequest, dict[str, Any]]:
    """Return the names in JSON of a command, and the members of the command. Raises CommandFormatError."""
    try:
        members = msgspec.json.decode(text, type=dict[str, Any])
        request = msgspec.convert(members, CommandRequest)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise CommandFormatError(_explain(error)) from error
    members.pop("request_id", None)
    return request, members


def convert_command(members: dict[str, Any]) -> SiteCommand:
    """Read a command from decoded JSON. Raises CommandFormatError."""
    try:
        command: SiteCommand = msgspec.convert(members, AnyCommand)
    except msgspec.ValidationError as error:
        raise CommandFormatError(_explain(error)) from error
    return command


def _explain(error: Exception) -> str:
    if "Invalid value" in str(error) and "$.command" in str(error):
        return f"unknown command; there are: {', '.join(sorted(COMMANDS))}"
    text = str(error)
    for pattern, form in _FORMS.items():
        text = text.replace(f"`str` matching regex {pattern!r}", form)
    return text
