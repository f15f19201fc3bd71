"""Rules of [eebus]: its source of limits, its partners, and values that cannot be meant."""

from __future__ import annotations

from collections.abc import Iterator

from controller.config.schema import Config
from controller.tomlcheck.diagnostics import Problem
from controller.tomlcheck.positions import DataPath
from drivers.coded_text import coded
from drivers.eebus.array_json import EebusError
from drivers.eebus.certificates import normalize_ski


def check_eebus(config: Config) -> Iterator[Problem]:
    """Yield what is wrong with the EEBUS node and its source of limits."""
    sources = [] if config.dimming is None else list(config.dimming.source)
    guards = [(index, each) for index, each in enumerate(sources) if each.kind == "eebus"]
    for index, _ in guards[1:]:
        yield Problem(
            ("dimming", "source", index, "kind"),
            coded("is the second energy guard: the controller has one"),
            coded('keep one source of kind "eebus"; its box is accepted by `local-controller eebus pair`'),
        )
    if guards and config.eebus is None:
        path: DataPath = ("dimming", "source", guards[0][0], "kind")
        yield Problem(
            path,
            coded('is "eebus", and there is no [eebus]'),
            coded("add [eebus], empty will do"),
            refers_to="eebus",
        )
    if config.eebus is None:
        return
    if not guards:
        yield Problem(
            ("eebus",),
            coded("has no source of limits: what the control box writes would be ignored"),
            coded('add a [[dimming.source]] with kind = "eebus", or remove [eebus]'),
            refers_to="dimming.source.kind",
        )
    yield from _partners(config)


def _partners(config: Config) -> Iterator[Problem]:
    assert config.eebus is not None  # the caller has checked
    seen: set[str] = set()
    for index, partner in enumerate(config.eebus.partner):
        path: DataPath = ("eebus", "partner", index)
        try:
            ski = normalize_ski(partner.ski)
        except EebusError:
            yield Problem(
                (*path, "ski"),
                coded('"{ski}" is not an SKI: it has 40 hexadecimal digits', ski=partner.ski[:80]),
                coded("copy it from the partner's page or label"),
            )
            continue
        if ski in seen:
            yield Problem((*path, "ski"), coded("is there twice"), coded("remove one of the two"))
        seen.add(ski)
