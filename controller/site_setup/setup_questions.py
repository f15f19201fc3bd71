"""Questions of the setup, and the rules of their order. Terminal and page show them.

    section = next_section(answers, context, "en")
    section.questions[0].text          # "Fuse of the grid connection (A per phase)"
    section = next_section(answers | {"connection.limit": "63"}, context, "en")

Nothing is stored here: answers are texts by question id, and each call reads and checks all of them anew. The
next question is the first one in the table that applies and has no valid answer. An answer to a question that
does not apply (any more) is ignored, so that an earlier answer can be changed at any time. None: all is
answered, and `setup_document` makes the file.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import groupby
from typing import Any, Literal

import msgspec

from controller.site_setup import AnswerError
from controller.site_setup.setup_texts import Language, has_setup_text, setup_text
from drivers.input_modules import list_input_modules
from drivers.meter_model import list_models

Answers = Mapping[str, str]

PHASE_CHOICES = ("L1 L2 L3", "L2 L3 L1", "L3 L1 L2", "L1 L3 L2", "L2 L1 L3", "L3 L2 L1", "L1", "L2", "L3")
LOCAL = "local"
"""Answer that stands for no backend: the controller is the station's CSMS."""
MOST_STATIONS = 200
LONGEST_TOKEN = 36
"""Characters of an idToken (OCPP 2.0.1)."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,47}")
STATION_ID = re.compile(r"[^\s/]{1,48}")
_HOST = re.compile(r"(?P<host>[A-Za-z0-9][A-Za-z0-9.-]{0,252}|\[[0-9a-fA-F:.]+\])(:(?P<port>[0-9]{1,5}))?")
_THREE_TIMES = re.compile(r"\s*3\s*[x×*]", re.IGNORECASE)  # noqa: RUF001
_DEVICE = re.compile(r"/dev/\S+")
_URL = re.compile(r"wss?://[^\s/]+(/\S*)?")
_METER = re.compile(
    r"(?P<driver>[a-z0-9-]+)(#(?P<instance>[0-9]+))?/(?P<unit>[0-9]+)"
    r"(/(?P<baud>[0-9]+)(?P<parity>[NEO])(?P<stopbits>[12]))?"
)


class UnknownStation(msgspec.Struct, frozen=True, kw_only=True):
    """A station that tried to connect; `first_seen` RFC 3339, model members empty where not reported."""

    id: str
    address: str
    first_seen: str
    vendor: str = ""
    model: str = ""
    serial_number: str = ""
    firmware: str = ""


class MeterChoice(msgspec.Struct, frozen=True, kw_only=True):
    """A meter that a search has found, best match first among those of one unit.

    `baud`, `parity`, `stopbits`: on a serial port; `instance`: of a SunSpec device with several meters.
    """

    driver: str
    unit: int
    baud: int | None = None
    parity: str = "N"
    stopbits: int = 1
    instance: int | None = None
    serial_number: str = ""

    @property
    def value(self) -> str:
        """Return the answer that names this meter, e.g. eastron-sdm630-v2/1/9600N1."""
        instance = "" if self.instance is None else f"#{self.instance}"
        line = "" if self.baud is None else f"/{self.baud}{self.parity}{self.stopbits}"
        return f"{self.driver}{instance}/{self.unit}{line}"


class MeterScan(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a search for meters at one target; `problem`: why nothing could be searched."""

    found: tuple[MeterChoice, ...] = ()
    problem: str = ""


class SetupContext(msgspec.Struct, frozen=True, kw_only=True):
    """Facts that the questions depend on.

    `document`: data of the present configuration file, empty at the first start. `scans`: by target.
    """

    document: Mapping[str, Any] = {}
    host_name: str = ""
    timezone: str = "Europe/Berlin"
    serial_ports: tuple[str, ...] = ()
    gpio_chips: tuple[str, ...] = ()
    unknown_stations: tuple[UnknownStation, ...] = ()
    scans: Mapping[str, MeterScan] = {}
    has_users: bool = False


class AnswerChoice(msgspec.Struct, frozen=True):
    """One of the answers that a question accepts."""

    value: str
    text: str


class SetupQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """One question. `default`: answer that is proposed, empty for none; `value`: present answer.

    With the kind `scan` no person answers: meters are searched at `target`, then it is asked anew.
    """

    id: str
    kind: Literal["text", "number", "choice", "scan"]
    text: str
    help: str = ""
    default: str = ""
    choices: tuple[AnswerChoice, ...] = ()
    target: str = ""
    value: str = ""
    problem: str = ""
    is_optional: bool = False


class SetupSection(msgspec.Struct, frozen=True, kw_only=True):
    """Questions on one matter; the first one without `value` is the next one of a dialog."""

    name: str
    title: str
    questions: tuple[SetupQuestion, ...]


AnswerCheck = Callable[[str, Language], str]
"""Returns an answer in its normal form. Raises AnswerError."""


class QuestionStep(msgspec.Struct, frozen=True, kw_only=True):
    """A question that applies now, with the check of its answer. `subject`: what its text is about."""

    id: str
    section: str
    kind: Literal["text", "number", "choice", "scan"] = "text"
    key: str = ""
    check: AnswerCheck = lambda value, _: value
    default: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    target: str = ""
    values: Mapping[str, str] = {}
    is_optional: bool = False


def next_section(answers: Answers, context: SetupContext, language: Language) -> SetupSection | None:
    """Return the first section with a question that has no valid answer; None if all are answered.

    Questions of the section that are answered already are among its questions, with their values.
    """
    for name, steps in groupby(find_steps(answers, context, language), key=lambda each: each.section):
        asked = tuple(_ask(step, answers, language) for step in steps)
        if any(not each.value and not (each.is_optional and each.id in answers) for each in asked):
            return SetupSection(name=name, title=setup_text(language, f"section.{name}"), questions=asked)
    return None


def accepted_answers(answers: Answers, context: SetupContext, language: Language) -> dict[str, str]:
    """Return the answers that apply and are valid, in their normal form and the order of the questions."""
    accepted = {}
    for step in find_steps(answers, context, language):
        value, problem = _read(step, answers, language)
        if not problem and (value or (step.is_optional and step.id in answers)):
            accepted[step.id] = value
    return accepted


def find_problems(answers: Answers, context: SetupContext, language: Language) -> dict[str, str]:
    """Return by question id what is wrong with the given answers."""
    problems = {}
    for step in find_steps(answers, context, language):
        if step.id in answers and (problem := _read(step, answers, language)[1]):
            problems[step.id] = problem
    return problems


def with_defaults(answers: Answers, context: SetupContext, language: Language) -> dict[str, str]:
    """Return the answers, completed by the defaults of the questions that have one."""
    complete = dict(answers)
    while True:
        missing = {
            step.id: step.default
            for step in find_steps(complete, context, language)
            if step.id not in complete and (step.default or step.is_optional)
        }
        if not missing:
            return complete
        complete |= missing


def _read(step: QuestionStep, answers: Answers, language: Language) -> tuple[str, str]:
    """Return the answer to a step in its normal form, empty without a valid one, and what is wrong."""
    given = answers.get(step.id, "").strip()
    if step.kind == "scan" or step.id not in answers:
        return "", ""
    if not given:
        return "", "" if step.is_optional else setup_text(language, "error.required")
    if step.choices and given not in dict(step.choices):
        return "", setup_text(language, "error.choice", choices=", ".join(dict(step.choices)))
    try:
        return step.check(given, language), ""
    except AnswerError as error:
        return "", str(error)


def _ask(step: QuestionStep, answers: Answers, language: Language) -> SetupQuestion:
    value, problem = _read(step, answers, language)
    key = step.key or step.id
    return SetupQuestion(
        id=step.id,
        kind=step.kind,
        text=setup_text(language, key, **step.values),
        help=setup_text(language, f"{key}.help", **step.values) if has_setup_text(f"{key}.help") else "",
        default=step.default,
        choices=tuple(AnswerChoice(choice, text) for choice, text in step.choices),
        target=step.target,
        value=value,
        problem=problem,
        is_optional=step.is_optional,
    )


# -- the table of questions -------------------------------------------------------------------------------


def find_steps(answers: Answers, context: SetupContext, language: Language) -> Iterator[QuestionStep]:
    """Yield the questions that apply, in their order; which ones follow depends on the answers before."""
    yield from _site_steps(context)
    yield from _connection_steps(context)
    yield from _meter_steps(answers, context, language)
    yield from _backend_steps(answers, context, language)
    yield from _station_steps(answers, context, language)
    yield from _dimming_steps(answers, context, language)
    yield from _page_steps(context, language)


def _site_steps(context: SetupContext) -> Iterator[QuestionStep]:
    site = context.document.get("site", {})
    yield QuestionStep(
        id="site.id",
        section="site",
        check=_check_name,
        default=str(site.get("id") or (context.host_name if NAME.fullmatch(context.host_name) else "")),
    )
    yield QuestionStep(
        id="site.timezone",
        section="site",
        check=_check_timezone,
        default=str(site.get("timezone") or context.timezone),
    )


def _connection_steps(context: SetupContext) -> Iterator[QuestionStep]:
    root = root_circuit(context.document)
    limit, base = root.get("limit_a"), root.get("base_load_a")
    yield QuestionStep(
        id="connection.limit",
        section="connection",
        check=_check_limit,
        default="" if limit is None else format_limit(limit),
    )
    yield QuestionStep(
        id="connection.base_load",
        section="connection",
        kind="number",
        check=partial(_check_number, 0, 10_000, "A"),
        default="" if base is None else f"{base:g}",
    )


def _meter_steps(answers: Answers, context: SetupContext, language: Language) -> Iterator[QuestionStep]:
    meter = root_circuit(context.document).get("meter")
    choices = [(port, port) for port in context.serial_ports]
    choices.append(("network", setup_text(language, "meter.network")))
    choices.append(("none", setup_text(language, "meter.none")))
    if meter is not None:
        choices.insert(0, ("keep", setup_text(language, "meter.keep", meter=meter)))
    yield QuestionStep(
        id="meter.connection",
        section="meter",
        kind="choice",
        choices=tuple(choices),
        default="keep" if meter is not None else "none" if context.document.get("circuit") else "",
    )
    place = answers.get("meter.connection", "")
    if place not in dict(choices) or place in ("none", "keep"):
        return
    if place == "network":
        yield QuestionStep(id="meter.host", section="meter", check=_check_host)
    target = scan_target(answers)
    if not target:
        return
    scan = context.scans.get(target)
    if scan is None and "meter.model" not in answers:
        yield QuestionStep(
            id="meter.scan", section="meter", kind="scan", target=target, values={"target": target}
        )
        return
    yield _model_step(target, scan or MeterScan(), answers, language)
    if answers.get("meter.model") == "other":
        models = tuple((name, name) for name in list_models() if name != "virtual")
        yield QuestionStep(id="meter.driver", section="meter", kind="choice", choices=models)
        yield QuestionStep(
            id="meter.unit", section="meter", kind="number", check=partial(_check_whole, 0, 255), default="1"
        )


def _model_step(target: str, scan: MeterScan, answers: Answers, language: Language) -> QuestionStep:
    choices = [(each.value, _describe_meter(each, language)) for each in scan.found]
    given = answers.get("meter.model", "")
    if not choices and _METER.fullmatch(given):  # an answers file names the model without a search
        choices.append((given, given))
    reason = scan.problem or setup_text(language, "meter.silent")
    choices.append(("again", setup_text(language, "meter.again")))
    choices.append(("other", setup_text(language, "meter.other")))
    return QuestionStep(
        id="meter.model",
        section="meter",
        kind="choice",
        key="meter.model" if scan.found or _METER.fullmatch(given) else "meter.model.empty",
        choices=tuple(choices),
        check=_check_meter,
        values={"target": target, "reason": reason},
    )


def _describe_meter(meter: MeterChoice, language: Language) -> str:
    serial = meter.serial_number
    return setup_text(
        language,
        "meter.found",
        driver=meter.driver + ("" if meter.instance is None else f" {meter.instance}"),
        unit=meter.unit,
        serial=setup_text(language, "meter.serial", number=serial) if serial else "",
    )


def scan_target(answers: Answers) -> str:
    """Return where the meter is searched: a serial port or HOST:PORT; empty where nothing is searched."""
    place = answers.get("meter.connection", "")
    if place == "network":
        match = _HOST.fullmatch(answers.get("meter.host", "").strip())
        return "" if match is None else f"{match['host']}:{match['port'] or 502}"
    return place if place.startswith("/") else ""


def _backend_steps(answers: Answers, context: SetupContext, language: Language) -> Iterator[QuestionStep]:
    if context.document.get("backend") or context.document.get("station"):
        return  # which stations belong to which backend is decided already
    yield QuestionStep(
        id="backend.kind",
        section="backend",
        kind="choice",
        choices=tuple((each, setup_text(language, f"backend.{each}")) for each in ("none", "backend")),
    )
    if answers.get("backend.kind") == "backend":
        yield QuestionStep(id="backend.url", section="backend", check=_check_url)
        yield QuestionStep(
            id="backend.away",
            section="backend",
            kind="choice",
            choices=tuple(
                (each, setup_text(language, f"backend.{each}")) for each in ("autonomous", "strict")
            ),
        )
    if answers.get("backend.kind") == "none" and "local_csms" not in context.document:
        yield QuestionStep(
            id="backend.authorization",
            section="backend",
            kind="choice",
            choices=tuple((each, setup_text(language, f"backend.{each}")) for each in ("cards", "free")),
        )
        if answers.get("backend.authorization") == "cards" and not context.document.get("card"):
            yield QuestionStep(id="backend.tokens", section="backend", is_optional=True, check=_check_tokens)


def _station_steps(answers: Answers, context: SetupContext, language: Language) -> Iterator[QuestionStep]:
    known = known_stations(context.document)
    for unknown in context.unknown_stations:
        if unknown.id in known:
            continue
        yield _adoption_step(unknown, answers.get("site.timezone", ""), language)
        if answers.get(f"stations.{unknown.id}.adopt") == "yes":
            yield from _wiring_steps(unknown.id, context, language)
    yield QuestionStep(
        id="stations.more", section="stations", is_optional=True, check=partial(_check_ids, known=known)
    )
    for station in adopted_stations(answers, context):
        if all(station != unknown.id for unknown in context.unknown_stations):
            yield from _wiring_steps(station, context, language)


def _adoption_step(unknown: UnknownStation, timezone: str, language: Language) -> QuestionStep:
    parts = (unknown.vendor, unknown.model, unknown.serial_number, unknown.firmware)
    return QuestionStep(
        id=f"stations.{unknown.id}.adopt",
        section="stations",
        kind="choice",
        key="stations.adopt",
        choices=tuple((each, setup_text(language, f"stations.{each}")) for each in ("yes", "no")),
        values={
            "id": unknown.id,
            "model": " ".join(filter(None, parts)) or setup_text(language, "stations.model"),
            "address": unknown.address,
            "first": _local_time(unknown.first_seen, timezone),
        },
    )


def _local_time(moment: str, timezone: str) -> str:
    """Return a time (RFC 3339) in the site's time zone, to the minute; in UTC without one."""
    zone = timezone if timezone in zoneinfo.available_timezones() else "UTC"
    return f"{datetime.fromisoformat(moment).astimezone(zoneinfo.ZoneInfo(zone)):%Y-%m-%d %H:%M}"


def _wiring_steps(station: str, context: SetupContext, language: Language) -> Iterator[QuestionStep]:
    values = {"id": station}
    yield QuestionStep(
        id=f"stations.{station}.phases",
        section="stations",
        kind="choice",
        key="stations.phases",
        choices=tuple((each, each) for each in PHASE_CHOICES),
        default=PHASE_CHOICES[0],
        values=values,
    )
    yield QuestionStep(
        id=f"stations.{station}.max_a",
        section="stations",
        kind="number",
        key="stations.max_a",
        check=partial(_check_number, 6, 1000, "A"),
        default="32",
        values=values,
    )
    if "dimming" in context.document:
        yield QuestionStep(
            id=f"stations.{station}.steuve",
            section="stations",
            kind="choice",
            key="stations.steuve",
            choices=tuple((each, setup_text(language, f"stations.{each}_steuve")) for each in ("yes", "no")),
            values=values,
        )
    circuits = [str(each.get("id")) for each in context.document.get("circuit", [])]
    if len(circuits) > 1:
        yield QuestionStep(
            id=f"stations.{station}.circuit",
            section="stations",
            kind="choice",
            key="stations.circuit",
            choices=tuple((each, each) for each in circuits),
            values=values,
        )
    owners = backend_names(context.document)
    if owners:
        local = (LOCAL, setup_text(language, "stations.local"))
        yield QuestionStep(
            id=f"stations.{station}.owner",
            section="stations",
            kind="choice",
            key="stations.owner",
            choices=(*((each, each) for each in owners), local),
            values=values,
        )


def adopted_stations(answers: Answers, context: SetupContext) -> list[str]:
    """Return the ids of the stations that the answers adopt."""
    known = known_stations(context.document)
    adopted = [
        unknown.id
        for unknown in context.unknown_stations
        if unknown.id not in known and answers.get(f"stations.{unknown.id}.adopt") == "yes"
    ]
    further = [each for each in split_list(answers.get("stations.more", "")) if STATION_ID.fullmatch(each)]
    return list(dict.fromkeys(each for each in [*adopted, *further[:MOST_STATIONS]] if each not in known))


def _dimming_steps(answers: Answers, context: SetupContext, language: Language) -> Iterator[QuestionStep]:
    """Yield the questions about dimming, where there is a station that can be dimmed."""
    if "dimming" in context.document or not adopted_stations(answers, context):
        return
    has_backend = answers.get("backend.kind") == "backend" or len(backend_names(context.document)) == 1
    kinds = ("none", "gpio", "modbus", "eebus", *(("backend",) if has_backend else ()))
    yield QuestionStep(
        id="dimming.kind",
        section="dimming",
        kind="choice",
        choices=tuple((each, setup_text(language, f"dimming.{each}")) for each in kinds),
    )
    kind = answers.get("dimming.kind", "")
    if kind == "gpio":
        chip = next(iter(context.gpio_chips), "")
        yield QuestionStep(id="dimming.chip", section="dimming", check=_check_device, default=chip)
    elif kind == "modbus":
        modules = tuple((name, name) for name in list_input_modules())
        yield QuestionStep(id="dimming.host", section="dimming", check=_check_host)
        yield QuestionStep(id="dimming.module", section="dimming", kind="choice", choices=modules)
    if kind in ("gpio", "modbus"):
        yield QuestionStep(
            id="dimming.input",
            section="dimming",
            kind="number",
            check=partial(_check_whole, 0, 511),
            default="0",
        )
        yield QuestionStep(
            id="dimming.on_when",
            section="dimming",
            kind="choice",
            choices=tuple((each, setup_text(language, f"dimming.{each}")) for each in ("open", "closed")),
            default="open",
        )
        yield QuestionStep(
            id="dimming.limit_w",
            section="dimming",
            kind="number",
            check=partial(_check_number, 0, 10_000_000, "W"),
            default="4200",
        )


def _page_steps(context: SetupContext, language: Language) -> Iterator[QuestionStep]:
    if "web" not in context.document:
        yield QuestionStep(
            id="page.host",
            section="page",
            kind="choice",
            choices=tuple((each, setup_text(language, f"page.{each}")) for each in ("local", "network")),
            default="local",
        )
    if not context.has_users:
        yield QuestionStep(id="page.user", section="page", check=_check_name, default="admin")


# -- the present file -------------------------------------------------------------------------------------


def root_circuit(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the table of the grid connection; an empty one without."""
    circuits: Sequence[Mapping[str, Any]] = document.get("circuit", [])
    return next((each for each in circuits if each.get("parent") is None), {})


def known_stations(document: Mapping[str, Any]) -> frozenset[str]:
    """Return the ids of the stations in the file, those of ranges as they are written."""
    return frozenset(str(each.get("id")) for each in document.get("station", []))


def backend_names(document: Mapping[str, Any]) -> list[str]:
    """Return the names of the backends, of several endpoints of one its group."""
    return list(
        dict.fromkeys(str(each.get("group") or each.get("id")) for each in document.get("backend", []))
    )


def format_limit(limit: Any) -> str:
    """Return a limit (A) as it is written in an answer."""
    return "/".join(f"{each:g}" for each in limit) if isinstance(limit, list | tuple) else f"{limit:g}"


# -- checks of answers ------------------------------------------------------------------------------------


def _check_name(value: str, language: Language) -> str:
    if not NAME.fullmatch(value):
        raise AnswerError(setup_text(language, "error.name"))
    return value


def _check_timezone(value: str, language: Language) -> str:
    if value not in zoneinfo.available_timezones():
        raise AnswerError(setup_text(language, "error.timezone"))
    return value


def read_number(value: str, least: float, most: float, language: Language) -> float:
    """Read a number between two bounds; a decimal comma counts as a point. Raises AnswerError."""
    try:
        number = float(value.replace(",", "."))
    except ValueError:
        raise AnswerError(setup_text(language, "error.number")) from None
    if not least <= number <= most:
        raise AnswerError(setup_text(language, "error.range", least=f"{least:g}", most=f"{most:g}"))
    return number


def without_unit(value: str, unit: str) -> str:
    """Return a number without the unit of its question behind it, e.g. "63 A"."""
    number = value.rstrip()
    return number[: len(number) - len(unit)] if number.lower().endswith(unit.lower()) else number


def _check_number(least: float, most: float, unit: str, value: str, language: Language) -> str:
    return f"{read_number(without_unit(value, unit), least, most, language):g}"


def _check_whole(least: int, most: int, value: str, language: Language) -> str:
    number = read_number(value, least, most, language)
    if number != int(number):
        raise AnswerError(setup_text(language, "error.number"))
    return str(int(number))


def read_limit(value: str, least: float, language: Language) -> list[float]:
    """Read the current (A) of each phase: "63", as on a fuse "3 x 63 A", or three. Raises AnswerError."""
    match = _THREE_TIMES.match(value)
    parts = value[match.end() :].split("/") if match else value.split("/")
    if len(parts) not in ((1,) if match else (1, 3)):
        raise AnswerError(setup_text(language, "error.limit"))
    return [read_number(without_unit(each, "A"), least, 10_000, language) for each in parts]


def _check_limit(value: str, language: Language) -> str:
    return "/".join(f"{each:g}" for each in read_limit(value, 1, language))


def read_host(value: str) -> tuple[str, int]:
    """Return host and port (502 where none is named) of an answer that was accepted."""
    match = _HOST.fullmatch(value)
    assert match is not None
    return match["host"], int(match["port"] or 502)


def _check_host(value: str, language: Language) -> str:
    match = _HOST.fullmatch(value)
    if match is None or not 1 <= int(match["port"] or 502) <= 65_535:
        raise AnswerError(setup_text(language, "error.host"))
    return value


def _check_device(value: str, language: Language) -> str:
    if not _DEVICE.fullmatch(value):
        raise AnswerError(setup_text(language, "error.device"))
    return value


def _check_url(value: str, language: Language) -> str:
    if not _URL.fullmatch(value):
        raise AnswerError(setup_text(language, "error.url"))
    return value if "{station}" in value else value.rstrip("/") + "/{station}"


def split_list(value: str) -> list[str]:
    """Return the ids of an answer, which are separated by blanks, commas or semicolons."""
    return re.findall(r"[^\s,;]+", value)


def _check_ids(value: str, language: Language, known: frozenset[str]) -> str:
    ids = split_list(value)
    for each in ids:
        if not STATION_ID.fullmatch(each) or "[" in each:
            raise AnswerError(setup_text(language, "error.ids", id=each[:48]))
        if each in known:
            raise AnswerError(setup_text(language, "error.known", id=each))
    return " ".join(dict.fromkeys(ids[:MOST_STATIONS]))


def _check_tokens(value: str, language: Language) -> str:
    tokens = {each.upper(): each for each in split_list(value)}
    for each in tokens.values():
        if len(each) > LONGEST_TOKEN:
            raise AnswerError(setup_text(language, "error.token", token=each[:LONGEST_TOKEN]))
    return " ".join(tokens.values())


def read_meter(value: str) -> MeterChoice | None:
    """Return the meter that an answer names; None where it names none."""
    match = _METER.fullmatch(value)
    if match is None:
        return None
    serial = match["baud"] is not None
    return MeterChoice(
        driver=match["driver"],
        unit=int(match["unit"]),
        instance=None if match["instance"] is None else int(match["instance"]),
        baud=int(match["baud"]) if serial else None,
        parity=match["parity"] if serial else "N",
        stopbits=int(match["stopbits"]) if serial else 1,
    )


def _check_meter(value: str, language: Language) -> str:
    """Reject "again": it asks for a search, and is no model."""
    if value == "again":
        raise AnswerError(setup_text(language, "error.required"))
    return value
