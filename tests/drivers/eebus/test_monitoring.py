"""Test cases of MPC for a monitored unit, over the wire of a simulated guard, named by their identifiers."""

from __future__ import annotations

from typing import Any

import pytest

from drivers.eebus.monitoring import NOTIFY_S
from drivers.reading import Reading
from tests.drivers.eebus.guard import ControlledSite, Guard, notified

CONSUMING = Reading(
    time=0.0,
    power_w=(1000.0, 1200.4, 1300.0),
    power_total_w=3500.4,
    current_a=(4.35, 5.2, 5.6),
    voltage_v=(230.1, 231.0, 229.9),
    energy_import_wh=10_000.0,
    energy_export_wh=500.0,
    frequency_hz=50.01,
)
PRODUCING = Reading(
    time=0.0,
    power_w=(-1000.0, -1200.0, -1300.0),
    power_total_w=-3500.0,
    current_a=(-4.35, -5.2, -5.6),
    voltage_v=(230.1, 231.0, 229.9),
    energy_import_wh=10_000.0,
    energy_export_wh=600.0,
    frequency_hz=49.99,
)
LIST = "measurementListData"


@pytest.fixture
def site() -> ControlledSite:
    return ControlledSite()


@pytest.fixture
def guard(site: ControlledSite) -> Guard:
    return Guard(site).connect()


def feed(site: ControlledSite, reading: Reading | None) -> None:
    site.do(site.node.update_reading(reading, site.now, site.utc))


def values(guard: Guard) -> dict[tuple[str, str], float]:
    """Values by scope and phases, as a partner puts them together from the three functions."""
    described = guard.read("measurementDescriptionListData", 6)["measurementDescriptionData"]
    parameters = guard.read("electricalConnectionParameterDescriptionListData", 3)
    phases = {
        each["measurementId"]: each["acMeasuredPhases"]
        for each in parameters["electricalConnectionParameterDescriptionData"]
    }
    scopes = {each["measurementId"]: each["scopeType"] for each in described}
    return {
        (scopes[each["measurementId"]], phases[each["measurementId"]]): _number(each["value"])
        for each in guard.read(LIST, 6)["measurementData"]
        if each.get("valueState", "normal") == "normal"
    }


def _number(value: dict[str, Any]) -> float:
    return float(value["number"]) * 10.0 ** value["scale"]


def test_com_pt_mu_polling_001_each_read_is_answered(site: ControlledSite, guard: Guard) -> None:
    feed(site, CONSUMING)
    for _ in range(5):
        assert len(guard.read(LIST, 6)["measurementData"]) == 13


def test_com_pt_mu_notification_001_each_change_is_notified(site: ControlledSite, guard: Guard) -> None:
    for number in range(5):
        feed(site, Reading(time=0.0, power_total_w=1000.0 + number))
        guard.wait(120)
    assert len(notified(guard.received, LIST)) == 5


@pytest.mark.parametrize(
    ("case", "scope", "phases", "consuming", "producing"),
    [
        ("SCE1_PT_MUTotalActivePower_001", "acPowerTotal", "abc", 3500, -3500),
        ("SCE1_PT_MUPhaseActivePower_001", "acPower", "a", 1000, -1000),
        ("SCE1_PT_MUPhaseActivePower_002", "acPower", "b", 1200, -1200),
        ("SCE1_PT_MUPhaseActivePower_003", "acPower", "c", 1300, -1300),
        ("SCE2_PT_MUTotalConsumedEnergy_001", "acEnergyConsumed", "abc", 10_000, 10_000),
        ("SCE2_PT_MUTotalProducedEnergy_001", "acEnergyProduced", "abc", 500, 600),
        ("SCE3_PT_MUActiveACCurrent_001", "acCurrent", "a", 4.35, -4.35),
        ("SCE3_PT_MUActiveACCurrent_002", "acCurrent", "b", 5.2, -5.2),
        ("SCE3_PT_MUActiveACCurrent_003", "acCurrent", "c", 5.6, -5.6),
        ("SCE4_PT_MUACVoltage_001", "acVoltage", "a", 230.1, 230.1),
        ("SCE4_PT_MUACVoltage_002", "acVoltage", "b", 231.0, 231.0),
        ("SCE4_PT_MUACVoltage_003", "acVoltage", "c", 229.9, 229.9),
        ("SCE5_PT_MUFrequency_001", "acFrequency", "abc", 50.01, 49.99),
    ],
)
def test_monitoring_mpc_value_is_readable_and_change_notified(
    site: ControlledSite, guard: Guard, case: str, scope: str, phases: str, consuming: float, producing: float
) -> None:
    feed(site, CONSUMING)
    assert values(guard)[scope, phases] == pytest.approx(consuming), case
    guard.wait(NOTIFY_S)
    guard.received.clear()
    feed(site, PRODUCING)
    guard.wait(NOTIFY_S)
    assert notified(guard.received, LIST)
    assert values(guard)[scope, phases] == pytest.approx(producing), case


def test_only_measured_quantities_are_described(site: ControlledSite, guard: Guard) -> None:
    feed(site, Reading(time=0.0, power_w=(100.0, None, None), power_total_w=100.0))
    assert values(guard) == {("acPowerTotal", "abc"): 100, ("acPower", "a"): 100}
    [description] = guard.read("electricalConnectionDescriptionListData", 3)[
        "electricalConnectionDescriptionData"
    ]
    assert description["acConnectedPhases"] == 1
    assert description["positiveEnergyDirection"] == "consume"


def test_monitoring_scenarios_are_those_that_meter_serves(site: ControlledSite, guard: Guard) -> None:
    def scenarios() -> list[int]:
        actors = guard.read("nodeManagementUseCaseData")["useCaseInformation"]
        [unit] = [each for each in actors if each["actor"] == "MonitoredUnit"]
        return list(unit["useCaseSupport"][0]["scenarioSupport"])

    assert scenarios() == [1]
    feed(site, Reading(time=0.0, power_total_w=1.0, frequency_hz=50.0))
    assert scenarios() == [1, 5]
    feed(site, CONSUMING)
    assert scenarios() == [1, 2, 3, 4, 5]


def test_monitoring_total_power_is_sum_where_meter_has_none(site: ControlledSite, guard: Guard) -> None:
    feed(site, Reading(time=0.0, power_w=(1.0, 2.0, 3.0)))
    assert values(guard)["acPowerTotal", "abc"] == 6


def test_unreadable_meter_is_marked_as_error(site: ControlledSite, guard: Guard) -> None:
    feed(site, CONSUMING)
    feed(site, None)
    assert values(guard) == {}
    states = {each["valueState"] for each in guard.read(LIST, 6)["measurementData"]}
    assert states == {"error"}


def test_monitoring_notifications_are_apart_and_last_value_comes(site: ControlledSite, guard: Guard) -> None:
    for number in range(50):
        feed(site, Reading(time=0.0, power_total_w=float(number)))
        guard.wait(0.2)
    guard.wait(NOTIFY_S)
    data = notified(guard.received, LIST)
    assert len(data) <= 4
    assert data[-1]["measurementData"][0]["value"]["number"] == 49


def test_unchanged_values_are_not_notified(site: ControlledSite, guard: Guard) -> None:
    feed(site, CONSUMING)
    guard.wait(10)
    guard.received.clear()
    feed(site, CONSUMING)
    guard.wait(10)
    assert notified(guard.received, LIST) == []
