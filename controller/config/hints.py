"""What a person should know of a configuration that is no mistake: above all, what is not acted on yet."""

from __future__ import annotations

from collections.abc import Iterator

from controller.config.schema import Config
from controller.tomlcheck.findings import Finding
from controller.tomlcheck.positions import Path

_LATER = "it is read, and not acted on in this version"


def notes(config: Config) -> list[Finding]:
    """What this version reads but does not act on yet, and what looks odd."""
    return [*_backends(config), *_stations(config), *_signing(config), *_dimming(config), *_circuits(config)]


def _backends(config: Config) -> Iterator[Finding]:
    for index, backend in enumerate(config.backend):
        if backend.priority and backend.group is None:
            yield Finding(
                ("backend", index, "priority"),
                "is for uplinks of one backend, and this is the only one",
                "give those that are one backend the same group",
            )


def _stations(config: Config) -> Iterator[Finding]:
    for index, station in enumerate(config.station):
        for number, evse in enumerate(station.evse):
            if evse.steuve and not evse.exempt and config.dimming is None:
                yield Finding(
                    ("station", index, "evse", number, "steuve"),
                    "nobody may dim it",
                    "add [dimming] with a [[dimming.source]]",
                )


def _signing(config: Config) -> Iterator[Finding]:
    """A key alone signs evidence of dimming, and nothing else."""
    signing = config.signing
    if signing is not None and signing.policy is None and config.dimming is None:
        yield Finding(
            ("signing",),
            "nothing is verified or signed without a policy",
            'name one: policy = "signing.toml"',
        )


def _dimming(config: Config) -> Iterator[Finding]:
    keys_known = config.signing is not None and config.signing.policy is not None
    for index, source in enumerate(() if config.dimming is None else config.dimming.source):
        path: Path = ("dimming", "source", index)
        if source.kind == "eebus":
            yield Finding((*path, "kind"), "nothing brings the words of an Energy Guard yet", _LATER)
        if source.kind == "signed" and source.signed and not keys_known:
            yield Finding(
                (*path, "signed"),
                "nobody's key bears its role: all its commands are refused",
                "name a policy with the key and the role: [signing] policy",
            )
        if source.kind == "signed" and config.site.backend is None:
            yield Finding(
                (*path, "kind"),
                "nobody can bring its commands",
                "set site.backend: they come over the site's own link there",
            )


def _circuits(config: Config) -> Iterator[Finding]:
    limits = {circuit.id: circuit.limits_a for circuit in config.circuit}
    for index, circuit in enumerate(config.circuit):
        above = limits.get(circuit.parent or "")
        if above and any(own > up for own, up in zip(circuit.limits_a, above, strict=True)):
            yield Finding(
                ("circuit", index, "limit_a"),
                f'is above that of "{circuit.parent}", which feeds it',
                "the lower one holds",
            )
        if circuit.parent is None and circuit.meter is not None and circuit.base_load_a is None:
            yield Finding(
                ("circuit", index, "base_load_a"),
                "is not declared: that all fallbacks fit with the controller or the meter gone is checked "
                "for the stations alone",
                "add the most that draws there beside them (A on each phase), or 0 for nothing",
            )
