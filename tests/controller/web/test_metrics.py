"""The metrics, read by the parser of those who read them."""

from __future__ import annotations

from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from controller.web.metrics import PREFIX, render_metrics
from controller.web.status_model import ControllerStatus
from drivers.errors import Cause
from drivers.reading import Quality
from tests.controller.web.examples import EVIL, STATUS, UNCONFIGURED
from tests.controller.web.large_site import ENERGY

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(status: ControllerStatus) -> Samples:
    return {
        (sample.name.removeprefix(PREFIX), frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(render_metrics(status).decode())
        for sample in family.samples
    }


def value(name: str, **labels: str) -> float | None:
    return samples(STATUS).get((name, frozenset(labels.items())))


def test_metrics_of_circuit_have_each_phase() -> None:
    assert value("circuit_limit_amperes", circuit="grid", phase="L3") == 100.0
    assert value("circuit_measured_amperes", circuit="grid", phase="L1") == 60.5
    assert value("circuit_base_amperes", circuit="grid", phase="L2") == 26.0
    assert value("circuit_booked_amperes", circuit=EVIL, phase="L1") == 16.0


def test_circuit_without_meter_has_no_measured_series() -> None:
    assert value("circuit_measured_amperes", circuit=EVIL, phase="L1") is None
    assert value("meter_quality", circuit=EVIL, quality="good") is None


def test_exactly_one_quality_and_state_is_set() -> None:
    found = samples(STATUS)
    quality = {labels: v for (name, labels), v in found.items() if name == "meter_quality"}
    assert sorted(quality.values()) == [0.0, 0.0, 0.0, 1.0]
    assert value("meter_quality", circuit="grid", quality="good") == 1.0
    assert value("evse_state", station="CS01", evse="1", state="charging") == 1.0
    assert sum(v for (name, _), v in found.items() if name == "evse_state") == len(STATUS.evses)


def test_events_of_meters_and_buses_are_counted() -> None:
    assert value("meter_events_total", meter=EVIL, event="no_answer") == 7.0
    assert value("meter_reading_age_seconds", meter=EVIL) == 7.5
    assert value("bus_events_total", bus="/dev/ttyUSB0", event="timeouts") == 7.0


def test_metrics_cause_of_meter_fault_is_label() -> None:
    grid = replace(
        STATUS.circuits[0],
        meter_quality=Quality.STALE,
        meter_problem="unit 1 does not answer",
        meter_cause=Cause.NO_ANSWER,
    )
    found = samples(replace(STATUS, circuits=(grid,)))
    causes = {dict(labels)["cause"]: v for (name, labels), v in found.items() if name == "meter_cause"}
    assert [cause for cause, v in causes.items() if v] == ["no_answer"]
    assert len(causes) == len(Cause)


def test_metrics_of_evse_have_offer_draw_and_connection() -> None:
    assert value("evse_offered_amperes", station="CS01", evse="1") == 16.0
    assert value("evse_drawn_amperes", station="CS01", evse="1", phase="L1") == 15.5
    assert value("evse_offered_watts", station="CS01", evse="1") is None
    in_watts = replace(STATUS, evses=(replace(STATUS.evses[0], offered_w=11_000.0),))
    watts = [v for (name, _), v in samples(in_watts).items() if name.endswith("evse_offered_watts")]
    assert watts == [11_000.0]
    assert value("evse_connected", station="CS02", evse="2") == 0.0


def test_unconfigured_evse_with_car_has_booked_current() -> None:
    found = samples(replace(STATUS, unconfigured=(UNCONFIGURED,)))
    shown = {name: v for (name, _), v in found.items() if "unconfigured" in name}
    assert shown == {"unconfigured_evse_booked_amperes": 6.0, "unconfigured_evse_limited": 1.0}


def test_charger_response_of_station() -> None:
    assert value("evse_reaction_seconds", station="CS02", evse="2") == 12.5
    assert value("evse_step_amperes", station="CS02", evse="2") == 2.0
    assert value("evse_obeys", station="CS02", evse="2") == 0.0
    assert value("evse_obeys", station="CS01", evse="1") is None, "it was never cut"
    assert [value("evse_single_phase", station=f"CS0{n}", evse=f"{n}") for n in (1, 2)] == [0.0, 1.0]


def test_reason_of_any_characters_is_one_label() -> None:
    assert value("evse_reason_info", station="CS02", evse="2", circuit="grid", reason=EVIL) == 1.0


def test_metrics_have_links_and_health() -> None:
    assert value("stations_connected", ocpp="ocpp1.6") == 1.0
    assert value("limits_failed_total") == 1.0
    assert value("healthy") == 1.0
    assert samples(replace(STATUS, healthy=False))["healthy", frozenset()] == 0.0


def test_metrics_every_metric_has_type_and_help() -> None:
    families = list(text_string_to_metric_families(render_metrics(STATUS).decode()))
    assert all(family.type in ("gauge", "counter") and family.documentation for family in families)
    assert len({family.name for family in families}) == len(families)


def test_metrics_of_backend_have_its_queue() -> None:
    text = render_metrics(STATUS).decode()
    for line in (
        'local_controller_backend_links{backend="cpo",uplink="main"} 2.0',
        'local_controller_backend_links{backend="cpo",uplink="spare"} 0.0',
        'local_controller_backend_waiting{backend="cpo"} 3.0',
        'local_controller_backend_oldest_seconds{backend="cpo"} 61.5',
        'local_controller_backend_dropped_total{backend="cpo"} 4.0',
        'local_controller_backend_set_aside{backend="cpo"} 1.0',
    ):
        assert line in text.splitlines()


def test_decisions_and_overlay_are_counted() -> None:
    assert value("signature_verdicts_total", rule="safe-profiles", outcome="refuse") == 2.0
    assert value("overlay_reached_nodes", neighbour="LC02") == 2.0
    assert value("overlay_dropped_total", reason="no route") == 5.0


def test_alarm_has_kind_subject_and_severity() -> None:
    assert value("alarm", kind="station-away", subject="CS02", severity="warning") == 1.0


def test_metrics_of_dimming_have_limit_and_draw() -> None:
    assert value("dimming_active") == 1.0
    assert value("dimming_limit_watts") == 7560.0
    assert value("dimming_drawn_watts") == 7130.0
    assert value("dimming_source", source="dso") == 1.0
    assert value("dimming_commands_total", verdict="accepted") == 2.0
    assert value("dimming_commands_total", verdict="replayed") == 3.0
    assert value("evidence_failed_total") == 1.0
    assert "dimming" not in render_metrics(replace(STATUS, dimming=None)).decode()


def test_unmeasured_power_has_no_series() -> None:
    assert STATUS.dimming is not None
    unknown = replace(STATUS, dimming=replace(STATUS.dimming, drawn_w=None, limit_w=None))
    assert not {name for name, _ in samples(unknown)} & {"dimming_limit_watts", "dimming_drawn_watts"}


def test_eebus_state_limit_and_writes() -> None:
    assert value("eebus_state", direction="consumption", state="limited") == 1.0
    assert value("eebus_limit_watts", direction="consumption") == 8000.0
    assert value("eebus_limit_watts", direction="production") is None
    assert value("eebus_heartbeat_age_seconds") == 12.5
    assert value("eebus_partners") == 1.0
    assert value("eebus_writes_total", answer="refused") == 2.0
    assert value("eebus_messages_refused_total") == 1.0


def test_metrics_of_circuit_have_margin_and_jumps_beyond_it() -> None:
    grid = replace(STATUS.circuits[0], margin_a=1.0, jump_a=12.5, jumps_beyond=4, proposed_margin_a=9.5)
    found = samples(replace(STATUS, circuits=(grid, *STATUS.circuits[1:])))
    of_grid = frozenset({("circuit", "grid")})
    assert found["circuit_margin_amperes", of_grid] == 1.0
    assert found["circuit_jump_amperes", of_grid] == 12.5
    assert found["circuit_jumps_beyond_margin_total", of_grid] == 4.0
    assert found["circuit_proposed_margin_amperes", of_grid] == 9.5
    assert value("circuit_proposed_margin_amperes", circuit=EVIL) is None


def test_metrics_of_quarter_hour_have_use_rest_and_month() -> None:
    found = samples(replace(STATUS, energy=ENERGY))
    grid = frozenset({("circuit", "grid")})
    assert found["peak_target_watts", grid] == 60_000.0
    assert found["peak_used_watt_hours", grid] == 7500.0
    assert found["peak_left_watt_hours", grid] == 7500.0
    assert found["peak_ends_in_seconds", grid] == 420.0
    assert found["peak_month_watts", grid] == 58_200.0


def test_metrics_of_energy_plan_have_quota_price_and_waits() -> None:
    found = samples(replace(STATUS, energy=ENERGY))
    tenant = frozenset({("group", "tenant-a")})
    assert found["group_used_watt_hours", tenant] == 31_500.0
    assert found["group_quota_watt_hours", tenant] == 50_000.0
    assert found["group_guaranteed_amperes", tenant] == 16.0
    assert found["calendar_active", frozenset({("entry", "night tariff")})] == 1.0
    assert found["evse_waits_for_price", frozenset({("station", "CS001"), ("evse", "1")})] == 1.0
    assert found["energy_price", frozenset()] == 0.291
    assert found["battery_hidden_amperes", frozenset()] == 5.0


def test_metrics_unknown_price_and_absent_quota_have_no_series() -> None:
    unlimited = replace(ENERGY.groups[0], quota_kwh=None)
    found = samples(replace(STATUS, energy=replace(ENERGY, groups=(unlimited,), price=None)))
    assert not {"energy_price", "group_quota_watt_hours"} & {name for name, _ in found}
