"""Names, types and labels of all metrics: dashboards and alert rules of others rely on them."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from controller.model.expiry import Expiry
from controller.web.metrics import render_metrics
from controller.web.status_model import ClockReport, StoreHealth
from tests.controller.web.examples import STATUS, UNCONFIGURED
from tests.controller.web.large_site import ENERGY

NAMES = Path(__file__).parent / "metric_names.txt"
"""A line each: name, type, labels. A line is added with a metric, and never changed or removed."""

assert STATUS.dimming is not None
FULL = replace(
    STATUS,
    circuits=(replace(STATUS.circuits[0], proposed_margin_a=4.0), *STATUS.circuits[1:]),
    evses=(replace(STATUS.evses[0], offered_w=11_000.0), *STATUS.evses[1:]),
    energy=ENERGY,
    unconfigured=(UNCONFIGURED,),
    clock=ClockReport(state="legal", error_bound_s=0.1),
    store=StoreHealth(free_mb=90, size_mb=7600),
    expiries=(Expiry(name="listen.certificate", not_after=2e9),),
)
"""A status in which every metric has a sample."""


def exposed() -> list[str]:
    found = {
        " ".join((sample.name, family.type, *sorted(sample.labels)))
        for family in text_string_to_metric_families(render_metrics(FULL).decode())
        for sample in family.samples
    }
    return sorted(found)


def test_metric_names_types_and_labels_are_those_of_before() -> None:
    assert exposed() == NAMES.read_text().splitlines()


def test_metric_families_all_have_a_sample() -> None:
    families = text_string_to_metric_families(render_metrics(FULL).decode())
    assert [family.name for family in families if not family.samples] == []
