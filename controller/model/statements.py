"""Statements: sentences for people as a code with typed values. Sans-IO.

A limit's reason, an alarm, its remedy and the line of an event are statements. `str()` renders one in
English, for logs, the API and the terminal; the page renders it in its own language from the same code and
values. A statement that depends on another one carries it: "grid L1 full" is the cause of "no room for its
minimum of 6 A".
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import msgspec

from drivers.coded_text import TextParts, parts_of

MINUTES_FROM_S = 600.0
"""Shortest time that is shown in minutes (s)."""


class StatementCode(enum.StrEnum):
    """Code of a statement, with its English text; `{name}` stands for the value of that name."""

    template: str

    def __new__(cls, code: str, template: str) -> Self:
        """Make a code with its English text."""
        made = str.__new__(cls, code)
        made._value_ = code
        made.template = template
        return made

    # Reasons of a limit: what the car or its EVSE can take
    NOT_PLANNED = "not-planned", "not yet planned"
    ALL_IT_CAN_TAKE = "all-it-can-take", "all it can take"
    ALL_ITS_CAR_TAKES = "all-its-car-takes", "all that its car takes"
    CAR_TAKES_NOTHING = "car-takes-nothing", "its car takes nothing now"
    CAR_PROBED = "car-probed", "its car takes nothing: probed from time to time"
    CAR_OFFERED_LEFTOVER = (
        "car-offered-leftover",
        "its car takes nothing: offered current that no other car needs",
    )
    CAR_ON_ONE_PHASE = "car-on-one-phase", "its car may draw on one phase alone"
    NO_CAR = "no-car", "no car"
    NO_CAR_NO_FALLBACK = (
        "no-car-no-fallback",
        "charges no car, and no room for the fallback that one would take",
    )
    UNAUTHORIZED = "unauthorized", "waits for authorization"
    STATE_NOT_REPORTED = "state-not-reported", "its station has not reported its state"
    DRAW_NOT_REPORTED = "draw-not-reported", "its station has not reported its draw since the start"
    CANNOT_PAUSE = "cannot-pause", "its station cannot pause: held at its minimum"

    # What is full
    PHASE_FULL = "phase-full", "{circuit} L{phase} full"
    POWER_FULL = "power-full", "{circuit} full (power)"
    PHASE_LEADS = "phase-leads", "{circuit} L{phase} too far above L{other_phase}"
    BUILDING_PEAK = (
        "building-peak",
        "{circuit} L{phase}: the building drew {current_a} at {time}",
    )
    QUARTER_HOUR_PEAK = "quarter-hour-peak", "{circuit} quarter-hour peak of {power_w}"
    NO_ROOM = "no-room", "no room for its minimum of {minimum_a}, {cause}: waiting"
    BELOW_MINIMUM = "below-minimum", "{cause}: {current_a}, less than its minimum of {minimum_a}"
    RESTING = "resting", "gave up its place, rests {duration_s} at least"
    STOPPED_OFTEN = "stopped-often", "had to stop twice within {duration_s}, rests to spare its contactor"
    RISING = "rising", "rises as others come down"
    STEP_FOR_METER = "step-for-meter", "lowered for a moment to compare a meter with its car"
    STEP_FOR_PHASES = "step-for-phases", "lowered for a moment to find the phases of its car"
    EXPORT_USED = "export-used", "{circuit} exports no more"
    SURPLUS_GONE = (
        "surplus-gone",
        "charges from the surplus alone, which was gone: waits {duration_s} at least",
    )

    # Who limits it
    BACKEND_LIMIT_A = "backend-limit-a", "its backend allows {current_a}"
    BACKEND_LIMIT_W = "backend-limit-w", "its backend allows {power_w}"
    SITE_LIMIT = "site-limit", "the backend limits the site to {current_a}"
    CALENDAR_LIMIT = "calendar-limit", 'calendar "{name}" limits {circuit} to {current_a}'
    PAUSED = "paused", "paused by {name} until {time}"
    LIMITED = "limited", "limited to {current_a} by {name} until {time}"
    DIMMED = "dimmed", "dimmed by {name} to {power_w}"
    DIMMED_UNTIL = "dimmed-until", "dimmed by {name} to {power_w} until {time}"
    DIMMED_EACH = "dimmed-each", "dimmed by {name}"
    DIMMED_ASSUMED = (
        "dimmed-assumed",
        "limited to {power_w}, which is assumed: the source {name} is lost",
    )
    UNDER = "under", "{context}: {cause}"
    """A limit or a need of the EVSE (`context`), and what decides under it."""

    # The energy plan
    LEAVES = "leaves", "leaves in {duration_s}, needs {current_a} on average"
    LESS_ENERGY = "less-energy", "has received less energy than others"
    PRICE_ABOVE = "price-above", "waits for a price of at most {price}"
    CHEAPER_QUARTER = "cheaper-quarter", "waits for a cheaper quarter hour before its departure"
    SHOWS_PHASES = (
        "shows-phases",
        "shows which phases its car uses, before it waits for a cheaper quarter hour",
    )
    QUOTA_USED = "quota-used", 'group "{name}" has used its {energy_wh} of the day'

    # Faults of the station and of the meters above it
    OFFLINE = "offline", "offline"
    REGISTRATION_PENDING = "registration-pending", "connected, registration pending"
    LIMITS_REFUSED = "limits-refused", "refuses limits ({detail})"
    LIMITS_UNCONFIRMED = "limits-unconfirmed", "has not confirmed its limits"
    KEPT_FREE = "kept-free", "{cause}: {current_a} kept free for it"
    DISOBEYS = "disobeys", "draws {drawn_a}, though it may take {current_a}"
    METER_NOT_GOOD = "meter-not-good", "meter {name} is {quality}"
    METER_SUSPECTED = "meter-suspected", "meter {name} is suspected: {cause}"
    METER_WITHOUT_PHASES = (
        "meter-without-phases",
        "meter {name} does not show the current of each phase",
    )
    AT_FALLBACK = "at-fallback", "{cause}: held at its fallback"
    SHOWS_METER = "shows-meter", "{cause}: its car is offered its minimum to show whether that has ended"

    # What is wrong with a meter, by its cause; the detail is a whole sentence, in the language of the page
    METER_NONE = "meter-none", "{detail}"
    METER_NOT_READ = "meter-not-read", "{detail}"
    METER_UNREACHABLE = "meter-unreachable", "{detail}"
    METER_CONNECTION_CLOSED = "meter-connection-closed", "{detail}"
    METER_TLS = "meter-tls", "{detail}"
    METER_ROLE = "meter-role", "{detail}"
    METER_NO_ANSWER = "meter-no-answer", "{detail}"
    METER_CORRUPT_ANSWER = "meter-corrupt-answer", "{detail}"
    METER_WRONG_ANSWER = "meter-wrong-answer", "{detail}"
    METER_REFUSED = "meter-refused", "{detail}"
    METER_BUSY = "meter-busy", "{detail}"
    METER_GATEWAY = "meter-gateway", "{detail}"
    METER_WRONG_DEVICE = "meter-wrong-device", "{detail}"
    METER_AMBIGUOUS = "meter-ambiguous", "{detail}"
    METER_MISSING_VALUE = "meter-missing-value", "{detail}"
    METER_IMPOSSIBLE_VALUE = "meter-impossible-value", "{detail}"
    METER_FROZEN = "meter-frozen", "{detail}"
    METER_SOURCE = "meter-source", "{detail}"
    METER_NOT_REPORTED = "meter-not-reported", "{detail}"

    # Alarms
    CONTROL_STALLED = "control-stalled", "no control step for {duration_s}"
    CONFIGURATION_INVALID = (
        "configuration-invalid",
        "the configuration file has errors; the last valid one is in use",
    )
    STORE_NOT_WRITABLE = "store-not-writable", "the store cannot be written: {detail}"
    STORE_DAMAGED = "store-damaged", "a file of the store was damaged and is now {name}"
    CLOCK_UNVERIFIED = "clock-unverified", "the gateway's clock is not verified: {detail}"
    SIGNING_WAITS = (
        "signing-waits",
        "signed messages made until {time} are rejected: the clock was set back, or the memory of received "
        "ones was lost",
    )
    SIGNING_WAITS_FOR_CLOCK = (
        "signing-waits-for-clock",
        "signed messages are rejected until the clock is synchronised: the memory of received ones was lost",
    )
    DISK_LOW = "disk-low", "{count} MB are free on the disk of the store"
    METER_LOST = "meter-lost", "the meter of {circuit} is {quality}: {cause}"
    METER_INCOMPLETE = "meter-incomplete", "the meter of {circuit} does not show everything: {cause}"
    CIRCUIT_OVER_LIMIT = "circuit-over-limit", "{circuit} is above its limit for {duration_s}"
    CIRCUIT_NOT_PROTECTED = (
        "circuit-not-protected",
        "{circuit} may go {current_a} above its limit: {name} took no limit",
    )
    STATION_CLOCK_DIFFERS = (
        "station-clock-differs",
        "the clock of station {name} differs by {offset_s}",
    )
    BACKEND_CLOCK_DIFFERS = (
        "backend-clock-differs",
        "the clock of backend {name} differs by {offset_s}",
    )
    STATION_AWAY = "station-away", "station {name} is not connected; current is kept free for it"
    EVSE_FAULTED = "evse-faulted", "EVSE {name} reports a fault"
    LIMIT_NOT_FOLLOWED = "limit-not-followed", "EVSE {name} did not follow its last lower limit"
    EVSE_AT_FALLBACK = (
        "evse-at-fallback",
        "EVSE {name} may draw its fallback alone: its station {cause}",
    )
    REMOVED_EVSE_BOOKED = (
        "removed-evse-booked",
        "EVSE {name} is not in the configuration any more and may still draw: {current_a} stay booked for it",
    )
    EVSE_NOT_CONFIGURED = (
        "evse-not-configured",
        "EVSE {name} is not configured, and a car may be there: it {cause}; {current_a} are kept free for it",
    )
    IT_IS_AT_STATION_FALLBACK = (
        "it-is-at-station-fallback",
        "is limited to its station's fallback",
    )
    IT_TAKES_NO_LIMIT = "it-takes-no-limit", "takes no limit"
    IT_SHARES_STATION_LIMIT = "it-shares-station-limit", "draws under the limit of its station"
    BACKEND_AWAY = "backend-away", "backend {name} has no connection"
    BACKEND_SILENT = (
        "backend-silent",
        "backend {name} is connected, but leaves messages without an answer, {command} the last",
    )
    OUTBOX_OLD = "outbox-old", "{count} messages wait for {name}, the oldest for {duration_s}"
    MESSAGES_SET_ASIDE = "messages-set-aside", "{name} rejects {count} messages, which are set aside"
    DIMMING_SOURCE_LOST = (
        "dimming-source-lost",
        "a limit is assumed, not ordered by the grid operator: {detail}",
    )
    CERTIFICATE_EXPIRED = "certificate-expired", "{name} has expired"
    CERTIFICATE_ENDS = "certificate-ends", "{name} ends in {count} days"
    CERTIFICATE_ENDS_SOON = "certificate-ends-soon", "{name} ends in {duration_s}"

    # Remedies
    RESTART_CONTROLLER = (
        "restart-controller",
        "stations fall back by themselves; restart the controller and keep its log",
    )
    CORRECT_CONFIGURATION = (
        "correct-configuration",
        "correct the file: local-controller check shows the errors",
    )
    MAKE_ROOM_ON_DISK = (
        "make-room-on-disk",
        "make room on the disk and check its rights; transactions wait in the stations meanwhile",
    )
    FREE_DISK_SPACE = (
        "free-disk-space",
        "delete what is not needed, e.g. journalctl --vacuum-size=200M, before the store cannot be written",
    )
    RESTORE_BACKUP = (
        "restore-backup",
        "restore a backup if there is one; look for a worn out card or lost power",
    )
    REACH_TIME_SERVER = (
        "reach-time-server",
        "let chrony or systemd-timesyncd reach a time server",
    )
    RESUME_SIGNING = (
        "resume-signing",
        "set the clock right first (NTP); then local-controller policy resume accepts them after one window",
    )
    CHECK_METER = (
        "check-meter",
        "check its supply, cabling and address: local-controller meter read",
    )
    CHECK_METER_WIRING = (
        "check-meter-wiring",
        "check its current transformers, phases and model: local-controller meter read",
    )
    REDUCE_OTHER_LOADS = (
        "reduce-other-loads",
        "reduce the other loads; if it happens again raise margin_a",
    )
    ENABLE_SMART_CHARGING = (
        "enable-smart-charging",
        "enable smart charging in these stations or update their firmware; until then set the rated current "
        "of their EVSEs so that the circuit can carry it",
    )
    SET_STATION_CLOCK = "set-station-clock", "set the station's clock"
    CHECK_TIME_SERVER = "check-time-server", "check the gateway's time server"
    CHECK_STATION_LINK = "check-station-link", "check its supply, its network and its backend URL"
    SEE_STATION_LOG = (
        "see-station-log",
        "see the station's own display or log; a reset may end it",
    )
    CHECK_SMART_CHARGING = (
        "check-smart-charging",
        "check the station's firmware and whether smart charging is enabled in it",
    )
    DISCONNECT_STATION = (
        "disconnect-station",
        "disconnect the station from its circuit; its current is free once it has not tried to connect for "
        "half an hour",
    )
    ADD_EVSE = "add-evse", "add to the station, as it is wired: {detail}"
    CHECK_BACKEND_LINK = (
        "check-backend-link",
        "check the gateway's internet connection and the backend's URL and credentials",
    )
    CHECK_CLOCK_THEN_LINK = (
        "check-clock-then-link",
        "set the gateway's clock right first (NTP): the backend's certificate is checked by it; then check "
        "the internet connection, URL and credentials",
    )
    ASK_BACKEND = (
        "ask-backend",
        "ask the backend's operator; the log names each message: call not answered",
    )
    BRING_BACKEND_BACK = (
        "bring-backend-back",
        "nothing is lost; bring the backend's connection back",
    )
    DECIDE_MESSAGES = "decide-messages", "decide on each: local-controller outbox list"
    CHECK_CONTROL_BOX = (
        "check-control-box",
        "check the contact module, the control box and their cabling",
    )
    NOTHING_TO_DO = "nothing-to-do", "nothing to do: it ends by itself"
    RENEW_CERTIFICATE = (
        "renew-certificate",
        "renew it; newer files are used without a restart",
    )

    # Events
    ENDED = "ended", "ended: {cause}"
    NOT_DONE = "not-done", "not done: {cause} ({detail})"

    # Commands of people and programs, in events
    PAUSED_BY_PERSON = "order-pause", "{name} paused for {duration_s}"
    RESUMED_BY_PERSON = "order-resume", "{name} resumed"
    LIMITED_BY_PERSON = "order-limit", "{name} limited to {current_a} for {duration_s}"
    PRIORITIZED = "order-prioritize", "{name} served with priority {count} for {duration_s}"
    BOOSTED_BY_PERSON = "order-boost", "{name} boosted for {duration_s}"
    DEPARTURE_SET = "order-departure", "{name}: {energy_wh} needed within {duration_s}"
    DEPARTURES_SET = "order-departures", "planned departures set by a program: {count}"
    PRICES_SET = "order-prices", "prices of energy set by a program: {count}"
    CHARGING_STARTED = "order-start", "{name}: charging started"
    CHARGING_STOPPED = "order-stop", "{name}: charging stopped"
    RESET_SOFT = "order-reset-soft", "station {name} reset (soft)"
    RESET_HARD = "order-reset-hard", "station {name} reset (hard)"
    RECONNECTED = "order-reconnect", "station {name} disconnected, so that it connects again"
    ADOPTED = "order-adopt", "station {name} adopted on circuit {circuit} with {current_a} at most"
    DISMISSED = "order-dismiss", "station {name} removed from the list of unknown stations"
    FILE_READ_AGAIN = "order-reload", "configuration file read again"
    FILE_WRITTEN = "order-write", "configuration file changed"
    FILE_ROLLED_BACK = "order-rollback", "earlier version {name} of the configuration file written again"
    SIGNING_RESUMED = "order-resume-signing", "signed messages accepted again after one window"
    MESSAGE_RETRIED = "order-retry", "message {count} of {name} sent again to {detail}"
    MESSAGE_DROPPED = "order-drop", "message {count} of {name} for {detail} dropped"
    PARTNER_TRUSTED = "order-pair", "EEBUS partner {name} trusted"
    PARTNER_REMOVED = "order-unpair", "EEBUS partner {name} no longer trusted"
    PARTNERS_ACCEPTED = "order-register", "the next EEBUS partner is accepted within {duration_s}"
    PARTNERS_NOT_ACCEPTED = "order-register-none", "no further EEBUS partner is accepted"
    LIMITS_SUSPENDED = "order-suspend", "EEBUS limits refused: {detail}"
    LIMITS_RESUMED = "order-resume-limits", "EEBUS limits obeyed again"
    USER_SET = "order-user", "user {name} added or changed, with the role {detail}"
    USER_REMOVED = "order-remove-user", "user {name} removed"
    PASSWORD_CHANGED = "order-password", "password of user {name} changed"
    TOKEN_CREATED = "order-token", "token {name} added for {detail}"
    TOKEN_REVOKED = "order-revoke-token", "token {name} revoked"

    # Phase switching
    ON_ONE_PHASE = "on-one-phase", "on one phase: {cause}"
    TO_ONE_PHASE = "to-one-phase", "pauses, to charge on one phase then"
    TO_ALL_PHASES = "to-all-phases", "pauses, to charge on all phases then"


class Statement(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A sentence for people: its code, and the values that its text names.

    `name`: id or label of what it is about; `phase`: 1 to 3. Currents in A per phase, `power_w` in W,
    `energy_wh` in Wh, `duration_s` and `offset_s` (signed) in s, `price` per kWh; `time`: time of day at the
    site (hh:mm), or a moment (RFC 3339, UTC). `quality`: that of a meter. `command`: name of an OCPP action.
    `detail`: English text, or text of a peer in its own language; `detail_parts`: its template and values,
    where it has any (`detailed`). `cause`: what brought it about; `context`: what it happens under.
    """

    code: StatementCode
    name: str = ""
    circuit: str = ""
    phase: int = 0
    other_phase: int = 0
    current_a: float | None = None
    minimum_a: float | None = None
    drawn_a: float | None = None
    power_w: float | None = None
    energy_wh: float | None = None
    duration_s: float | None = None
    offset_s: float | None = None
    price: float | None = None
    count: int = 0
    time: str = ""
    quality: str = ""
    command: str = ""
    detail: str = ""
    detail_parts: TextParts | None = None
    cause: Statement | None = None
    context: Statement | None = None

    def __str__(self) -> str:
        """Render it in English."""
        return self.code.template.format_map(_Rendered(self, _shown))

    @property
    def kind(self) -> str:
        """Return its text without the values that change by the minute: one kind has one text."""
        return self.code.template.format_map(_Rendered(self, _shown_as_kind))

    def parts(self) -> Iterator[Statement]:
        """Yield it and the statements that it carries."""
        yield self
        for part in (self.context, self.cause):
            if part is not None:
                yield from part.parts()


def detailed(code: StatementCode, detail: str, **values: Any) -> Statement:
    """Return a statement with a detail, which keeps its template and values for other languages."""
    return Statement(code=code, detail=str(detail), detail_parts=parts_of(detail), **values)


class _Rendered(Mapping[str, str]):
    """Values of a statement as texts, rendered as a template asks for them."""

    def __init__(self, statement: Statement, show: Callable[[str, object], str]) -> None:
        self._statement = statement
        self._show = show

    def __getitem__(self, name: str) -> str:
        return self._show(name, getattr(self._statement, name))

    def __iter__(self) -> Iterator[str]:
        return iter(self._statement.__struct_fields__)

    def __len__(self) -> int:
        return len(self._statement.__struct_fields__)


def _shown(name: str, value: object) -> str:
    """Return a value in English, with the unit that its name ends with."""
    if isinstance(value, float | int):
        render = _UNITS.get(name) or _UNITS.get(name.rpartition("_")[2])
        return f"{value:g}" if render is None else render(float(value))
    return str(value)


def _shown_as_kind(name: str, value: object) -> str:
    """Return a value if there are few of it: ids, phases, and what other statements say."""
    if isinstance(value, Statement):
        return value.kind
    return "..." if name in VARYING else str(value)


VARYING = frozenset(
    {
        "current_a",
        "minimum_a",
        "drawn_a",
        "power_w",
        "energy_wh",
        "duration_s",
        "offset_s",
        "count",
        "price",
        "time",
        "detail",
    }
)
"""Values that are left out of the kind of a statement."""


def describe_duration(seconds: float) -> str:
    """Return a time in English: s below ten minutes, else h and min."""
    if seconds < MINUTES_FROM_S:
        return f"{seconds:g} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return " ".join(part for part in (hours and f"{hours} h", minutes and f"{minutes} min") if part)


_UNITS: dict[str, Callable[[float], str]] = {
    "a": lambda amps: f"{round(amps, 1):g} A",
    "w": lambda watts: f"{watts / 1000:.4g} kW",
    "wh": lambda energy: f"{energy / 1000:g} kWh",
    "s": describe_duration,
    "offset_s": lambda seconds: f"{seconds:+.0f} s",
}
