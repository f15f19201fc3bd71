"""Test cases of LPC and LPP for a controllable system, over the wire of a simulated guard, by identifier.

The cases of LPP are the same with the other direction: those tests run for both.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from drivers.eebus.limitation import PowerDirection
from drivers.eebus.lpc import Answered, Event, Failsafe, ObedienceChanged, State, Tick
from drivers.eebus.spine_data import format_time
from tests.drivers.eebus.guard import GUARD_SKI, ControlledSite, Guard, notified

NOMINAL_W = 100_000
LIMITS = "loadControlLimitListData"


class Case:
    """A guard that is connected, and one direction of its limits."""

    def __init__(self, direction: PowerDirection, **site: object) -> None:
        self.direction = direction
        self.site = ControlledSite(production=direction is PowerDirection.PRODUCE, **site)  # type: ignore[arg-type]
        self.guard = Guard(self.site).connect()
        self.limit_id = 1 if direction is PowerDirection.CONSUME else 2
        self.key = 1 if direction is PowerDirection.CONSUME else 3

    @property
    def state(self) -> State:
        return self.site.machines[self.direction].state

    @property
    def active(self) -> bool:
        return bool(self.guard.read_limit(self.limit_id)["isLimitActive"])

    @property
    def value(self) -> float:
        value = self.guard.read_limit(self.limit_id)["value"]
        return float(value["number"] * 10 ** value["scale"])

    def beat(self) -> Case:
        self.guard.beat()
        return self

    def limit(self, watts: float | None = 5000, *, active: bool | None = True, **more: object) -> int:
        return self.guard.write_limit(
            watts,
            active=active,
            limit_id=self.limit_id,
            **more,  # type: ignore[arg-type]
        )

    def failsafe(self, watts: float) -> int:
        return self.guard.write_failsafe(watts, watts_key=self.key)

    def read_failsafe(self) -> object:
        return self.guard.read_failsafe(self.key)

    def cut(self, seconds: float) -> Case:
        """The cable is pulled."""
        self.site.node.lost(self.guard.name)
        self.site.advance(seconds)
        return self

    def reconnect(self) -> Case:
        self.guard = Guard(self.site, f"again{self.site.now}").connect()
        return self


@pytest.fixture(params=list(PowerDirection), ids=["LPC", "LPP"])
def direction(request: pytest.FixtureRequest) -> PowerDirection:
    assert isinstance(request.param, PowerDirection)
    return request.param


def init(direction: PowerDirection) -> Case:
    return Case(direction)


def controlled(direction: PowerDirection) -> Case:
    case = Case(direction).beat()
    assert case.limit(active=False) == 0
    return case


def limited(direction: PowerDirection) -> Case:
    case = Case(direction).beat()
    assert case.limit() == 0
    return case


def failsafe(direction: PowerDirection) -> Case:
    return controlled(direction).cut(121).reconnect()


def autonomous(direction: PowerDirection) -> Case:
    case = Case(direction)
    case.site.advance(121)
    return case


STATES: dict[State, Callable[[PowerDirection], Case]] = {
    State.INIT: init,
    State.CONTROLLED: controlled,
    State.LIMITED: limited,
    State.FAILSAFE: failsafe,
    State.AUTONOMOUS: autonomous,
}


@pytest.mark.parametrize("state", list(State))
def test_lpc_machine_reaches_each_state(direction: PowerDirection, state: State) -> None:
    case = STATES[state](direction)
    assert case.state is state
    assert case.active is (state is State.LIMITED)


# -- communication ------------------------------------------------------------------------------------


def test_lpc_cases_com_pt_cs_heartbeat_001_gaps_of_minute_at_most() -> None:
    case = controlled(PowerDirection.CONSUME)
    times: list[float] = []
    for _ in range(360):
        case.guard.wait(1)
        if notified(case.guard.received, "deviceDiagnosisHeartbeatData"):
            times.append(case.site.now)
            case.guard.received.clear()
    assert len(times) >= 5
    assert max(later - earlier for earlier, later in itertools.pairwise(times)) <= 60


def test_lpc_cases_com_nt_cs_connection_001_limit_needs_heartbeat(direction: PowerDirection) -> None:
    case = init(direction)
    assert case.limit(active=False) == 7
    assert case.state is State.INIT
    assert case.beat().limit(active=False) == 0
    assert case.state is State.CONTROLLED


def test_lpc_cases_com_pt_cs_connection_002_failsafe_value_needs_limit(direction: PowerDirection) -> None:
    case = init(direction).beat()
    assert case.failsafe(4300) == 7
    assert case.limit(active=False) == 0
    assert case.failsafe(4300) == 0
    assert case.read_failsafe() == 4300


def test_lpc_cases_com_pt_cs_connection_004_failsafe_duration_needs_limit(direction: PowerDirection) -> None:
    case = init(direction).beat()
    assert case.guard.write_failsafe(duration="PT3H") == 7
    assert case.limit(active=False) == 0
    assert case.guard.write_failsafe(duration="PT3H") == 0
    assert case.guard.read_failsafe(2) == "PT3H"


def test_com_pt_cs_connection_003_negative_values_are_refused(direction: PowerDirection) -> None:
    case = init(direction).beat()
    assert case.limit(-1000) == 7
    assert case.state is State.CONTROLLED
    assert case.failsafe(-1000) == 7
    assert case.failsafe(4300) == 0


def test_com_pt_cs_connection_005_too_long_duration_is_own_maximum(direction: PowerDirection) -> None:
    case = controlled(direction)
    case.guard.received.clear()
    assert case.guard.write_failsafe(duration="P1DT1H12M") == 7
    [data] = notified(case.guard.received, "deviceConfigurationKeyValueListData")
    assert {"keyId": 2, "value": {"duration": "P1D"}, "isValueChangeable": True} in data[
        "deviceConfigurationKeyValueData"
    ]
    assert case.guard.read_failsafe(2) == "P1D"


def test_com_pt_cs_connection_006_limit_above_range_is_accepted(direction: PowerDirection) -> None:
    case = controlled(direction)
    assert case.limit(2 * NOMINAL_W) == 0
    assert case.state is State.LIMITED
    assert case.value == 2 * NOMINAL_W


@pytest.mark.parametrize("watts", [0, 5000, 50_000, 95_000, 105_000])
def test_com_pt_cs_connection_007_limits_are_read_back(direction: PowerDirection, watts: float) -> None:
    case = controlled(direction)
    assert case.limit(watts) == 0
    assert case.state is State.LIMITED
    assert case.active
    assert case.value == watts


@pytest.mark.parametrize("watts", [0, 5000, 50_000, 95_000, 105_000])
def test_com_pt_cs_connection_008_failsafe_values_are_read_back(
    direction: PowerDirection, watts: float
) -> None:
    case = controlled(direction)
    assert case.failsafe(watts) == 0
    assert case.read_failsafe() == watts


@pytest.mark.parametrize(
    ("duration", "result", "read"),
    [("PT1H54M", 7, "PT2H"), ("PT13H", 0, "PT13H"), ("P1DT1H12M", 7, "P1D")],
)
def test_com_pt_cs_connection_008_failsafe_durations(duration: str, result: int, read: str) -> None:
    case = controlled(PowerDirection.CONSUME)
    assert case.guard.write_failsafe(duration=duration) == result
    assert case.guard.read_failsafe(2) == read


def test_com_pt_cs_connection_009_power_cut_of_both_ends_in_init(direction: PowerDirection) -> None:
    first = controlled(direction)
    again = Case(direction, failsafes=first.site.saved)
    assert again.state is State.INIT
    assert again.beat().limit(active=False) == 0
    assert again.state is State.CONTROLLED


# -- init, limited, controlled ------------------------------------------------------------------------


def test_lpc_cases_com_pt_cs_init_001_held_to_failsafe_value(direction: PowerDirection) -> None:
    case = Case(direction, failsafes={direction: Failsafe(7000.0)})
    assert case.site.machines[direction].limit_w == 7000
    assert not case.active


def test_com_pt_cs_init_002_factory_values(direction: PowerDirection) -> None:
    case = init(direction)
    assert not case.active
    assert case.read_failsafe() == 4200
    assert case.guard.read_failsafe(2) == "PT2H"


def test_lpc_cases_com_pt_cs_init_003_failsafe_values_survive_restart(direction: PowerDirection) -> None:
    case = controlled(direction)
    assert case.failsafe(6000) == 0
    assert case.guard.write_failsafe(duration="PT3H") == 0
    again = Case(direction, failsafes=case.site.saved)
    assert again.state is State.INIT
    assert again.read_failsafe() == 6000
    assert again.site.lpc.failsafe.duration_s == 3 * 3600


@pytest.mark.parametrize("state", [State.LIMITED, State.CONTROLLED])
def test_com_nt_cs_limited_001_unl_cntrl_001_negative_limit(direction: PowerDirection, state: State) -> None:
    case = STATES[state](direction)
    active, value = case.active, case.value
    assert case.limit(-1000) == 7
    assert (case.state, case.active, case.value) == (state, active, value)


def test_com_pt_cs_limited_002_limit_counts_without_fresh_heartbeat(direction: PowerDirection) -> None:
    case = limited(direction)
    case.site.advance(90)
    assert case.limit(6000) == 0
    case.beat()
    assert case.state is State.LIMITED


def test_com_pt_cs_unl_cntrl_002_contractual_maximum_alone() -> None:
    case = Case(PowerDirection.PRODUCE)
    function = "electricalConnectionCharacteristicListData"
    data = case.guard.read(function, 3)["electricalConnectionCharacteristicData"]
    assert {each["characteristicType"]: each["value"]["number"] for each in data} == {
        "contractualConsumptionNominalMax": 100_000,
        "contractualProductionNominalMax": 30_000,
    }


# -- failsafe, autonomous -----------------------------------------------------------------------------


@pytest.mark.parametrize("state", [State.FAILSAFE, State.AUTONOMOUS])
def test_com_pt_cs_fs_001_unl_auto_001_return_needs_both(direction: PowerDirection, state: State) -> None:
    case = STATES[state](direction).beat()
    case.site.advance(90)
    assert case.limit(active=False) == 7
    assert case.state is state
    assert case.failsafe(4300) == 7
    assert case.beat().limit(active=False) == 0
    assert case.state is State.CONTROLLED
    assert case.failsafe(4300) == 0


def test_lpc_cases_com_pt_cs_fs_002_failsafe_lasts_duration(direction: PowerDirection) -> None:
    case = controlled(direction).cut(121)
    assert case.state is State.FAILSAFE
    case.site.advance(2 * 3600 - 60)
    assert case.state is State.FAILSAFE
    case.site.advance(61)
    assert case.state is State.AUTONOMOUS


def test_com_pt_cs_fs_003_failsafe_duration_is_locked(direction: PowerDirection) -> None:
    case = failsafe(direction)
    assert not case.active
    assert case.beat().guard.write_failsafe(duration="PT3H") == 7
    assert case.state is State.FAILSAFE


def test_com_pt_cs_unl_auto_002_limit_is_inactive_and_maximum_is_reported(direction: PowerDirection) -> None:
    case = autonomous(direction)
    assert not case.active
    assert case.site.machines[direction].limit_w is None
    characteristics = case.guard.read("electricalConnectionCharacteristicListData", 3)
    for each in characteristics["electricalConnectionCharacteristicData"]:
        assert each["value"]["number"] > 0


# -- transitions --------------------------------------------------------------------------------------

OUT_OF_CONTROL = {1: State.INIT, 8: State.FAILSAFE, 11: State.AUTONOMOUS}


@pytest.mark.parametrize("number", OUT_OF_CONTROL)
def test_com_pt_cs_transition_1_8_11_001_refused_limit(direction: PowerDirection, number: int) -> None:
    case = STATES[OUT_OF_CONTROL[number]](direction).beat()
    case.site.moves.clear()
    assert case.limit(-1000) == 7
    assert case.state is State.CONTROLLED
    assert not case.active
    if direction is PowerDirection.CONSUME:
        assert case.site.moves == [number]


@pytest.mark.parametrize("number", OUT_OF_CONTROL)
def test_com_pt_cs_transition_1_8_11_002_inactive_limit(direction: PowerDirection, number: int) -> None:
    case = STATES[OUT_OF_CONTROL[number]](direction).beat()
    assert case.limit(active=False) == 0
    assert case.state is State.CONTROLLED


@pytest.mark.parametrize("number", [2, 9, 12])
def test_com_pt_cs_transition_2_9_12_001_active_limit(direction: PowerDirection, number: int) -> None:
    origin = {2: State.INIT, 9: State.FAILSAFE, 12: State.AUTONOMOUS}[number]
    case = STATES[origin](direction).beat()
    case.site.moves.clear()
    assert case.limit(duration="PT60S" if number == 2 else None) == 0
    assert case.state is State.LIMITED
    assert case.active
    if direction is PowerDirection.CONSUME:
        assert case.site.moves == [number]


@pytest.mark.parametrize("heartbeat", [False, True])
def test_com_pt_cs_transition_3_no_limit_after_start(direction: PowerDirection, heartbeat: bool) -> None:
    case = init(direction)
    if heartbeat:
        case.guard.beat_for(130)
    case.site.advance(130)
    assert case.state is State.AUTONOMOUS


def test_com_pt_cs_transition_4_001_active_limit_when_controlled(direction: PowerDirection) -> None:
    case = controlled(direction)
    assert case.limit() == 0
    assert case.state is State.LIMITED


@pytest.mark.parametrize("state", [State.CONTROLLED, State.LIMITED])
def test_com_pt_cs_transition_5_7_001_cable_pulled(direction: PowerDirection, state: State) -> None:
    case = STATES[state](direction)
    assert case.failsafe(6000) == 0
    assert case.cut(119).state is state
    case.site.advance(2)
    assert case.state is State.FAILSAFE
    assert case.site.machines[direction].limit_w == 6000
    assert not case.reconnect().active


def test_com_pt_cs_transition_6_001_duration_over(direction: PowerDirection) -> None:
    case = controlled(direction)
    assert case.limit(duration="PT60S") == 0
    case.guard.beat_for(59)
    assert case.active
    case.guard.received.clear()
    case.guard.beat_for(2)
    assert case.state is State.CONTROLLED
    limits = notified(case.guard.received, LIMITS)[-1]["loadControlLimitData"]
    [limit] = [each for each in limits if each["limitId"] == case.limit_id]
    assert limit["isLimitActive"] is False
    assert "timePeriod" not in limit


def test_com_pt_cs_transition_6_002_inactive_limit(direction: PowerDirection) -> None:
    case = limited(direction)
    assert case.limit(active=False) == 0
    assert case.state is State.CONTROLLED
    assert not case.active


def test_com_pt_cs_transition_10_001_autonomous_after_duration(direction: PowerDirection) -> None:
    case = controlled(direction)
    assert case.guard.write_failsafe(duration="PT3H") == 0
    case.cut(130)
    assert case.state is State.FAILSAFE
    case.site.advance(3 * 3600 - 20)
    assert case.state is State.FAILSAFE
    case.site.advance(130)
    assert case.state is State.AUTONOMOUS


def test_com_pt_cs_transition_10_002_guard_back_without_limit(direction: PowerDirection) -> None:
    case = failsafe(direction).beat()
    case.guard.beat_for(130)
    assert case.state is State.AUTONOMOUS


def test_ins1_pt_cs_transition_1_001_unable_to_obey() -> None:
    case = init(PowerDirection.CONSUME)
    case.site.pass_to_machine(PowerDirection.CONSUME, ObedienceChanged("emergency supply"))
    assert case.beat().limit() == 7
    assert case.state is State.CONTROLLED
    assert not case.active
    case.site.pass_to_machine(PowerDirection.CONSUME, ObedienceChanged())
    assert case.limit() == 0


# -- what a write may carry ---------------------------------------------------------------------------


def test_lpc_cases_write_of_one_facet_keeps_others(direction: PowerDirection) -> None:
    case = limited(direction)
    assert case.limit(5011, active=None) == 0
    assert (case.value, case.active) == (5011, True)
    assert case.limit(None, active=False) == 0
    assert (case.value, case.active) == (5011, False)
    assert case.limit(None, active=True) == 0
    assert (case.value, case.active) == (5011, True)
    assert case.site.machines[direction].limit_w == 5011


def test_lpc_cases_write_of_value_keeps_duration() -> None:
    case = controlled(PowerDirection.CONSUME)
    assert case.limit(duration="PT60S") == 0
    case.guard.beat_for(40)
    assert case.limit(6000, active=None) == 0
    assert case.site.lpc.until == pytest.approx(60)
    assert case.guard.read_limit()["timePeriod"] == {"endTime": "PT60S"}


def test_write_at_end_of_limit_takes_no_duration_of_it(direction: PowerDirection) -> None:
    case = controlled(direction)
    assert case.limit(duration="PT60S") == 0
    case.site.now += 60  # the node is not notified of the end yet
    assert case.limit(6000) == 0
    assert case.site.machines[direction].until is None
    assert "timePeriod" not in case.guard.read_limit(case.limit_id)
    case.guard.beat_for(100)
    assert case.state is State.LIMITED


def test_value_written_at_end_of_limit_does_not_activate_it(direction: PowerDirection) -> None:
    case = controlled(direction)
    assert case.limit(duration="PT60S") == 0
    case.site.now += 60
    assert case.limit(6000, active=None) == 0
    assert (case.value, case.active, case.state) == (6000, False, State.CONTROLLED)


def test_failsafe_value_written_at_end_of_limit_drops_its_duration(direction: PowerDirection) -> None:
    case = controlled(direction)
    assert case.limit(duration="PT60S") == 0
    case.site.now += 60
    assert case.failsafe(4300) == 0
    assert not case.active
    assert "timePeriod" not in case.guard.read_limit(case.limit_id)


def test_limit_that_ends_before_its_answer_drops_its_duration(monkeypatch: pytest.MonkeyPatch) -> None:
    case = controlled(PowerDirection.CONSUME)
    site, pass_to_machine = case.site, case.site.pass_to_machine

    def store_slowly(direction: PowerDirection, event: Event) -> Answered | None:
        answered = pass_to_machine(direction, event)
        site.now += 5
        pass_to_machine(direction, Tick())
        return answered

    monkeypatch.setattr(site, "pass_to_machine", store_slowly)
    assert case.limit(duration="PT5S") == 0
    monkeypatch.undo()
    assert "timePeriod" not in case.guard.read_limit()
    assert case.limit() == 0
    assert site.lpc.until is None


@pytest.mark.parametrize("how", ["filter", "empty"])
def test_duration_deleted_by_filter_or_empty_period(how: str) -> None:
    case = controlled(PowerDirection.CONSUME)
    assert case.limit(duration="PT60S") == 0
    if how == "filter":
        assert case.limit(delete_duration=True) == 0
    else:
        assert case.limit(more={"timePeriod": {}}) == 0
    assert "timePeriod" not in case.guard.read_limit()
    assert case.site.lpc.until is None
    case.guard.beat_for(100)
    assert case.state is State.LIMITED


def test_lpc_cases_duration_as_point_in_time_is_understood() -> None:
    case = controlled(PowerDirection.CONSUME)
    assert case.limit(duration="2026-11-18T12:28:10.1234567Z") == 0
    assert case.site.lpc.until is not None
    assert case.site.lpc.until > 0


def test_lpc_cases_notify_precedes_result_and_reaches_writer() -> None:
    case = controlled(PowerDirection.CONSUME)
    case.guard.received.clear()
    assert case.limit() == 0
    assert [each["header"]["cmdClassifier"] for each in case.guard.received] == ["notify", "result"]


def test_lpc_cases_write_without_ack_request_is_not_answered_by_result() -> None:
    case = controlled(PowerDirection.CONSUME)
    command = {
        "function": LIMITS,
        "filter": [{"cmdControl": {"partial": {}}}],
        LIMITS: {"loadControlLimitData": [{"limitId": 1, "isLimitActive": True, "value": {"number": 1}}]},
    }
    answers = case.guard.datagram("write", command, source=([1], 1), destination=([1], 1))
    assert [each["header"]["cmdClassifier"] for each in answers] == ["notify"]


@pytest.mark.parametrize(
    ("limits", "result"),
    [
        ([{"limitId": 4711, "isLimitActive": True, "value": {"number": 1, "scale": 0}}], 7),
        ([{"limitId": 1, "isLimitActive": True, "value": {"number": 1, "scale": 99}}], 7),
        ([{"limitId": 1, "isLimitActive": True, "value": {"number": 1, "scale": 999}}], 1),
        ([{"limitId": 1, "isLimitActive": True, "value": {"number": 1e300, "scale": 0}}], 1),
        ([{"limitId": 1, "isLimitActive": True, "value": {"number": "many"}}], 1),
        ([{"limitId": 1, "isLimitActive": "yes"}], 1),
        ([{"limitId": 1, "timePeriod": {"endTime": "soon"}}], 7),
        ([{"limitId": 1, "timePeriod": {"endTime": "PT-5S"}}], 7),
        ([{"limitId": 1, "timePeriod": {"endTime": "P1Y"}}], 7),
        ([{"limitId": 1, "isLimitActive": True}, {"limitId": 1, "isLimitActive": False}], 7),
        ([], 7),
    ],
)
def test_limit_out_of_range_is_refused(limits: list[object], result: int) -> None:
    case = limited(PowerDirection.CONSUME)
    partial = [{"cmdControl": {"partial": {}}}]
    command = {"function": LIMITS, "filter": partial, LIMITS: {"loadControlLimitData": limits}}
    assert case.guard.write(command, 1) == result
    assert (case.state, case.value, case.active) == (State.LIMITED, 5000, True)
    assert len(case.guard.read(LIMITS, 1)["loadControlLimitData"]) == 1


@pytest.mark.parametrize(
    ("filters", "result"),
    [
        ([{"cmdControl": {"delete": {}}, "loadControlLimitListDataSelectors": {"limitId": 1}}], 7),
        ([{"cmdControl": {"delete": {}}, "loadControlLimitDataElements": {"value": {}}}], 8),
        ([{"cmdControl": {"partial": {}, "delete": {}}}], 8),
        ([{"cmdControl": {}}], 8),
        ([{"cmdControl": {"partial": {}}, "timestampInterval": {}}], 8),
    ],
)
def test_unknown_filter_is_refused(filters: list[object], result: int) -> None:
    case = limited(PowerDirection.CONSUME)
    command = {"function": LIMITS, "filter": filters, LIMITS: {"loadControlLimitData": [{"limitId": 1}]}}
    assert case.guard.write(command, 1) == result
    assert (case.state, case.value) == (State.LIMITED, 5000)


def test_lpc_cases_deletion_alone_ends_duration() -> None:
    case = controlled(PowerDirection.CONSUME)
    assert case.limit(duration="PT60S") == 0
    delete = {"cmdControl": {"delete": {}}, "loadControlLimitDataElements": {"timePeriod": {}}}
    assert case.guard.write({"function": LIMITS, "filter": [delete]}, 1) == 0
    assert case.site.lpc.until is None
    assert case.active


def test_lpc_cases_entry_without_identifier_means_only_limit() -> None:
    case = controlled(PowerDirection.CONSUME)
    assert case.guard.write_limit(5000, active=True, limit_id=None) == 0
    assert case.value == 5000


def test_entry_without_identifier_is_refused_where_two_are_meant() -> None:
    case = controlled(PowerDirection.PRODUCE)
    assert case.guard.write_limit(5000, active=True, limit_id=None) == 7


def test_lpc_cases_write_without_filter_replaces_whole_limit() -> None:
    case = controlled(PowerDirection.CONSUME)
    assert case.limit(42, scale=2, duration="PT60S") == 0
    whole = {"limitId": 1, "isLimitActive": True, "value": {"number": 3300}}
    assert case.guard.write({LIMITS: {"loadControlLimitData": [whole]}}, 1) == 0
    assert case.value == 3300
    assert case.site.lpc.until is None


@pytest.mark.parametrize(
    "keys",
    [
        [{"keyId": 9, "value": {"duration": "PT3H"}}],
        [{"keyId": 1, "value": {"duration": "PT3H"}}],
        [{"keyId": 2, "value": {"scaledNumber": {"number": 1, "scale": 0}}}],
        [{"keyId": 2, "value": {"duration": "three hours"}}],
        [{"keyId": 1}],
        [{"value": {"duration": "PT3H"}}],
        [],
    ],
)
def test_invalid_configuration_write_is_refused(keys: list[object]) -> None:
    case = controlled(PowerDirection.CONSUME)
    name = "deviceConfigurationKeyValueListData"
    command = {
        "function": name,
        "filter": [{"cmdControl": {"partial": {}}}],
        name: {"deviceConfigurationKeyValueData": keys},
    }
    assert case.guard.write(command, 2) == 7
    assert case.site.saved == {}


def test_failsafe_value_and_duration_are_written_together_or_not_at_all() -> None:
    case = controlled(PowerDirection.CONSUME)
    assert case.guard.write_failsafe(6000, duration="PT1H") == 7
    assert (case.read_failsafe(), case.guard.read_failsafe(2)) == (4200, "PT2H")
    assert case.guard.write_failsafe(6000, duration="PT3H") == 0
    assert (case.read_failsafe(), case.guard.read_failsafe(2)) == (6000, "PT3H")


def test_lpc_failsafe_is_not_locked_by_state_of_lpp() -> None:
    case = Case(PowerDirection.PRODUCE).beat()
    assert case.guard.write_limit(4000, active=False, limit_id=1) == 0
    assert case.state is State.INIT
    assert case.guard.write_failsafe(4300) == 0
    assert case.guard.write_failsafe(4300, watts_key=3) == 7
    assert case.guard.write_failsafe(duration="PT3H") == 0


def test_duration_is_open_when_lpp_alone_is_controlled() -> None:
    case = controlled(PowerDirection.PRODUCE)
    assert case.site.lpc.state is State.INIT
    assert case.guard.write_failsafe(duration="PT3H") == 0
    assert case.site.machines[PowerDirection.PRODUCE].failsafe.duration_s == 3 * 3600
    assert case.guard.write_failsafe(4300) == 7


def test_lpc_cases_request_carries_message_as_received() -> None:
    case = controlled(PowerDirection.CONSUME)
    case.limit(4711)
    assert b'{"number": 4711}' in case.site.requests[-1].received
    assert case.site.requests[-1].received[0] == 2
    assert GUARD_SKI in [each.ski for each in case.site.node.partners]


# -- clock set ----------------------------------------------------------------------------------------

CLOCK_STEPS_S = pytest.mark.parametrize("step_s", [-86_400.0 * 400, -3600.0, 3600.0, 86_400.0 * 400])
"""The wall clock is set: by chrony after a start without network, or by hand."""


def connected() -> Guard:
    """A guard whose inactive limit was accepted."""
    guard = Guard(ControlledSite()).connect()
    guard.beat()
    assert guard.write_limit(0, active=False) == 0
    return guard


@CLOCK_STEPS_S
def test_lpc_cases_clock_set_moves_no_end_of_limit(step_s: float) -> None:
    guard = connected()
    assert guard.write_limit(8000, active=True, duration="PT60S") == 0
    guard.site.clock_set_s = step_s
    guard.beat_for(59.0)
    assert guard.site.state is State.LIMITED
    guard.beat_for(2.0)
    assert guard.site.state is State.CONTROLLED


@CLOCK_STEPS_S
def test_clock_set_loses_no_heartbeat_and_makes_none(step_s: float) -> None:
    guard = connected()
    guard.site.clock_set_s = step_s
    guard.wait(119.0)
    assert guard.site.state is State.CONTROLLED
    guard.wait(2.0)
    assert guard.site.state is State.FAILSAFE


@CLOCK_STEPS_S
def test_lpc_cases_clock_set_keeps_own_heartbeats_minute_apart(step_s: float) -> None:
    guard = connected()
    guard.beat_for(100.0)
    guard.site.clock_set_s = step_s
    before = len(guard.site.sent)
    guard.beat_for(240.0)
    name = b"deviceDiagnosisHeartbeatData"
    times = [at for at, _, message in guard.site.sent[before:] if name in message and b'"notify"' in message]
    assert len(times) >= 4
    assert max(late - early for early, late in itertools.pairwise(times)) <= 60.0


def test_lpc_cases_absolute_end_after_clock_was_set_counts_from_receipt() -> None:
    guard = connected()
    guard.site.clock_set_s = 3600.0
    end = format_time(guard.site.utc + 60.0)
    assert guard.write_limit(8000, active=True, duration=end) == 0
    guard.site.clock_set_s = -3600.0
    guard.beat_for(61.0)
    assert guard.site.state is State.CONTROLLED


def test_absolute_end_that_is_over_is_refused_or_over_at_once() -> None:
    guard = connected()
    guard.write_limit(8000, active=True, duration=format_time(guard.site.utc - 60.0))
    guard.wait(1.0)
    assert guard.site.state is State.CONTROLLED


@pytest.mark.parametrize("counter", [0, 2**63, 2**64 - 1])
def test_tc_spine_data_002_counter_of_64_bits_is_answered(counter: int) -> None:
    guard = connected()
    [answer] = guard.datagram("read", {"nodeManagementUseCaseData": []}, counter=counter)
    assert answer["header"]["msgCounterReference"] == counter


def test_counter_of_more_than_64_bits_is_refused() -> None:
    guard = connected()
    assert guard.datagram("read", {"nodeManagementUseCaseData": []}, counter=2**64) == []
    assert guard.site.refused[-1] == "msgCounter is above 2^64 - 1"
    assert guard.site.state is State.CONTROLLED
