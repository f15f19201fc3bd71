"""Polling on a virtual clock: every fault is a state and one log line, and other meters go on."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from functools import partial

import pytest
import trio
from msgspec import structs

from drivers.errors import Cause, ModelFileError
from drivers.health import FROZEN_S
from drivers.meter_model import load_model
from drivers.meter_service import MeterPoller, run_meters
from drivers.modbus.bus import Bus
from drivers.reading import MeterIdentity, MeterState, Quality
from drivers.settings import BusSettings, MeterSettings
from drivers.simulated import Fault, GatewayBehavior, SimulatedMeter, serve_tcp
from tests.bounds import HANG_S
from tests.drivers.memory_bus import MemoryBus

SDM630 = load_model("eastron-sdm630-v2")


def settings(unit: int = 1, driver: str = "eastron-sdm630-v2", meter: str = "") -> MeterSettings:
    return MeterSettings(
        id=meter or f"meter-{unit}", driver=driver, transport="rtu", device="/dev/bus", unit=unit
    )


class PolledMeters:
    """Meters on one bus, polled; the states that were published, and when."""

    def __init__(self, *meters: SimulatedMeter, driver: str = "eastron-sdm630-v2") -> None:
        self.bus = MemoryBus(*meters)
        self.published: list[tuple[float, MeterState]] = []
        self.pollers = [MeterPoller(settings(meter.unit, driver), self._on_state) for meter in meters]

    def _on_state(self, state: MeterState) -> None:
        self.published.append((trio.current_time(), state))

    async def run(self, seconds: float) -> MeterState:
        """Poll for so long; return the newest state."""
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                for poller in self.pollers:
                    nursery.start_soon(poller.run, self.bus)
        return self.published[-1][1]

    def qualities(self) -> list[Quality]:
        """Return the qualities in order, without repetitions."""
        return [quality for quality, _ in itertools.groupby(state.quality for _, state in self.published)]


def moving(unit: int = 1) -> SimulatedMeter:
    meter = SimulatedMeter(SDM630, unit)
    meter.set_values({"current_l1": 0.1, "current_l2": 0.2, "current_l3": 0.3, "voltage_l1": 230.0})
    return meter


async def test_meter_is_read_once_in_interval(autojump_clock: trio.testing.MockClock) -> None:
    site = PolledMeters(moving())
    state = await site.run(9.9)
    assert len(site.published) == 10
    assert state.quality is Quality.GOOD
    assert state.reading is not None
    assert state.reading.current_a == pytest.approx((0.1, 0.2, 0.3))
    assert state.reading.time == site.published[-1][0]


@pytest.mark.parametrize(
    ("fault", "text", "cause"),
    [
        (Fault.SILENT, "no answer from unit 1 on /dev/bus within 1 s; check its wiring", Cause.NO_ANSWER),
        (Fault.BAD_CRC, "unit 1 on /dev/bus: its answer came with a wrong checksum", Cause.CORRUPT_ANSWER),
        (Fault.HALF_FRAME, "its answer ended after 20 of 41 bytes", Cause.CORRUPT_ANSWER),
        (Fault.FOREIGN_UNIT, "unit 2 answered instead of unit 1", Cause.WRONG_ANSWER),
        (Fault.EXCEPTION, "exception 4 (device failure) to 2 registers from 6", Cause.REFUSED),
    ],
)
async def test_failing_meter_is_stale_then_dead_then_good_with_line_each(
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
    fault: Fault,
    text: str,
    cause: Cause,
) -> None:
    caplog.set_level(logging.INFO)
    meter = moving()
    site = PolledMeters(meter)
    await site.run(3)
    meter.fault = fault
    state = await site.run(120)
    assert site.qualities() == [Quality.GOOD, Quality.STALE, Quality.DEAD]
    assert state.reading is not None
    assert text in state.problem
    assert state.cause is cause
    meter.fault = None
    assert (await site.run(14)).quality is Quality.GOOD
    logged = [(record.name, record.levelno, record.getMessage()) for record in caplog.records]
    assert {name for name, _, _ in logged} == {"drivers.meter"}
    assert [level for _, level, _ in logged] == [logging.WARNING, logging.WARNING, logging.INFO]
    stale, dead, good = [message for _, _, message in logged]
    assert stale.startswith(f"meter became stale meter=meter-1 cause={cause} problem=")
    assert text in stale
    assert dead.startswith("meter is dead meter=meter-1")
    assert good.startswith("meter recovered meter=meter-1 after=1")


async def test_one_lost_poll_changes_nothing(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    meter = moving()
    site = PolledMeters(meter)
    await site.run(3)
    meter.fault = Fault.SILENT
    await site.run(2.5)
    meter.fault = None
    await site.run(3)
    assert site.qualities() == [Quality.GOOD]
    assert not caplog.records


async def test_values_that_are_none_are_implausible_at_once(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    meter = moving()
    site = PolledMeters(meter)
    await site.run(3)
    meter.fault = Fault.NOT_A_NUMBER
    state = await site.run(0.5)
    assert state.quality is Quality.IMPLAUSIBLE
    assert state.problem.startswith("it has no value for current_l1")
    await site.run(60)
    assert len(caplog.records) == 1


async def test_frozen_meter_is_stale(autojump_clock: trio.testing.MockClock) -> None:
    meter = moving()
    meter.set_values({"current_l1": 10.0})
    state = await PolledMeters(meter).run(FROZEN_S + 5)
    assert state.quality is Quality.STALE
    assert state.cause is Cause.FROZEN


async def test_unplugged_bus_is_named_and_recovers(autojump_clock: trio.testing.MockClock) -> None:
    site = PolledMeters(moving())
    await site.run(3)
    site.bus.plugged = False
    state = await site.run(20)
    assert state.quality is Quality.STALE
    assert "plug the adapter in again" in state.problem
    site.bus.plugged = True
    assert (await site.run(12)).quality is Quality.GOOD


async def test_meter_service_dead_units_do_not_hold_up_live_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    alive, *dead = moving(1), moving(2), moving(3)
    for meter in dead:
        meter.fault = Fault.SILENT
    site = PolledMeters(alive, *dead)
    await site.run(600)
    assert {state.quality for _, state in site.published if state.meter == "meter-1"} == {Quality.GOOD}
    times = [state.reading.time for _, state in site.published if state.meter == "meter-1" and state.reading]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert max(gaps) <= 3.6  # three time limits, and the question for the serial number
    assert len(times) >= 400
    requests = Counter(unit for unit, _ in site.bus.requested)
    assert requests[2] < requests[1] / 5


async def test_dead_unit_is_published_at_every_turn(autojump_clock: trio.testing.MockClock) -> None:
    meter = moving()
    meter.fault = Fault.SILENT
    site = PolledMeters(meter)
    await site.run(100)
    times = [time for time, _ in site.published]
    longest = max(later - earlier for earlier, later in itertools.pairwise(times))
    assert longest <= 3.2  # interval and two time limits


async def test_meter_service_noise_is_read_through_within_poll(
    autojump_clock: trio.testing.MockClock,
) -> None:
    meter = moving()
    meter.fault = Fault.NOISE
    site = PolledMeters(meter)
    assert (await site.run(5)).quality is Quality.GOOD


async def test_meter_that_refuses_gaps_is_read_without_them(autojump_clock: trio.testing.MockClock) -> None:
    meter = SimulatedMeter(SDM630, filled=False)
    site = PolledMeters(meter)
    state = await site.run(5)
    assert site.qualities() == [Quality.GOOD]
    assert state.reading is not None
    assert state.reading.frequency_hz is not None
    serial_number = SDM630.identify.serial_number
    assert serial_number is not None
    requested = [address for _, address in site.bus.requested if address != serial_number.address]
    assert requested[:7] == [0, 52, 52, 70, 0, 52, 70]


async def test_meter_without_energy_is_still_read(autojump_clock: trio.testing.MockClock) -> None:
    abb = load_model("abb-b23")
    poorer = structs.replace(
        abb, register=tuple(each for each in abb.register if not each.quantity.startswith("energy"))
    )
    state = await PolledMeters(SimulatedMeter(poorer, filled=False), driver="abb-b23").run(5)
    assert state.quality is Quality.GOOD
    assert state.reading is not None
    assert state.reading.energy_import_wh is None
    assert state.reading.voltage_v[0] is not None


async def test_meter_service_refused_power_makes_reading_without_direction(
    autojump_clock: trio.testing.MockClock,
) -> None:
    currents_only = structs.replace(
        SDM630, register=tuple(each for each in SDM630.register if each.quantity.startswith("current"))
    )
    meter = SimulatedMeter(currents_only, filled=False)
    meter.set_values({"current_l1": 10.0, "current_l2": 10.0, "current_l3": 10.0})
    state = await PolledMeters(meter).run(5)
    assert state.quality is Quality.GOOD
    assert "the direction of L1, L2 and L3 is unknown and counts as import" in state.limitation


@pytest.mark.parametrize("driver", ["sunspec-203", "sunspec-213", "sunspec", "keba-kecontact-e10"])
async def test_sunspec_meter_is_found_once_and_again_after_outage(
    autojump_clock: trio.testing.MockClock, driver: str
) -> None:
    layout = "sunspec-203" if driver == "sunspec-203" else "sunspec-213"
    meter = SimulatedMeter(load_model(layout))
    site = PolledMeters(meter, driver=driver)
    await site.run(2.5)
    addresses = [address for _, address in site.bus.requested]
    assert addresses[:4] == [40000, 40002, 40004, 40070]
    assert addresses.count(40000) == 1
    meter.fault = Fault.SILENT
    await site.run(60)
    meter.fault = None
    site.bus.requested.clear()
    assert (await site.run(14)).quality is Quality.GOOD
    assert (1, 40000) in site.bus.requested


async def test_sunspec_model_that_moves_is_noticed(autojump_clock: trio.testing.MockClock) -> None:
    """A firmware update moves the chain by one register."""
    meter = SimulatedMeter(load_model("sunspec-203"))
    site = PolledMeters(meter, driver="sunspec-203")
    await site.run(3)
    meter.move_registers(1, behind=40002)
    states = len(site.published)
    await site.run(10)
    assert site.published[-1][1].quality is Quality.GOOD
    assert all(state.quality is Quality.GOOD for _, state in site.published[states:])


async def test_meter_service_device_without_sunspec_is_dead_with_reason(
    autojump_clock: trio.testing.MockClock,
) -> None:
    state = await PolledMeters(moving(), driver="sunspec-203").run(5)
    assert state.quality is Quality.DEAD
    assert "exception 1 (illegal function)" in state.problem


async def test_meter_gets_pause_of_model(autojump_clock: trio.testing.MockClock) -> None:
    site = PolledMeters(moving(1), moving(2))
    await site.run(30)
    gaps = [later - earlier for earlier, later in itertools.pairwise(site.bus.requested_at)]
    assert min(gaps) >= SDM630.read.gap_ms / 1000 - 1e-9


async def test_meter_service_meters_on_same_bus_share_it(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[BusSettings] = []

    def open_in_memory(settings: BusSettings, _find_objection: object) -> Bus:
        opened.append(settings)
        return MemoryBus(moving(1), moving(2))

    monkeypatch.setattr("drivers.bus_registry.open_bus", open_in_memory)
    on_tcp = partial(MeterSettings, driver="eastron-sdm630-v2", transport="tcp", host="gateway")
    meters = [
        settings(1, meter="row"), settings(2, meter="lift"),
        on_tcp(id="default-port", unit=1), on_tcp(id="same-port", unit=2, port=502),
        on_tcp(id="other-port", port=503),
    ]  # fmt: skip
    qualities: dict[str, Quality] = {}
    with trio.move_on_after(5):
        await run_meters(meters, lambda state: qualities.update({state.meter: state.quality}))
    assert sorted(each.key for each in opened) == [
        ("/dev/bus",),
        ("tcp", "gateway", 502),
        ("tcp", "gateway", 503),
    ]
    assert qualities == dict.fromkeys((each.id for each in meters), Quality.GOOD)


async def test_meter_service_unknown_driver_is_error_before_start() -> None:
    with pytest.raises(ModelFileError, match="did you mean"):
        await run_meters([settings(driver="janitza-umg605")], lambda state: None)


# -- gateways on real sockets ------------------------------------------------------------------------


async def read_through(
    gateway: GatewayBehavior, *meters: SimulatedMeter, driver: str = "eastron-sdm630-v2", polls: int = 3
) -> list[MeterState]:
    """Poll a meter through a gateway so many times; return the states."""
    states: list[MeterState] = []
    with trio.fail_after(HANG_S):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(partial(serve_tcp, *meters, behavior=gateway))
            enough = trio.Event()

            def on_state(state: MeterState) -> None:
                states.append(state)
                if len(states) >= polls:
                    enough.set()

            meter = MeterSettings(
                id="grid", driver=driver, transport="tcp", host="127.0.0.1", port=port,
                interval_s=0.01, timeout_s=5.0,
            )  # fmt: skip
            await nursery.start(run_meters, [meter], on_state)
            await enough.wait()
            nursery.cancel_scope.cancel()
    return states


DRIVERS = [
    "eastron-sdm630-v2",
    "abb-b23",
    "carlo-gavazzi-em340",
    "siemens-pac2200",
    "sunspec-203",
    "sunspec-213",
]


@pytest.mark.parametrize("driver", DRIVERS)
async def test_gateway_that_closes_after_each_answer_is_read(driver: str) -> None:
    states = await read_through(
        GatewayBehavior(close_after=1), SimulatedMeter(load_model(driver)), driver=driver
    )
    assert {state.quality for state in states} == {Quality.GOOD}


@pytest.mark.parametrize("code", [1, 2, 3, 4])
@pytest.mark.parametrize("limit", [32, 64])
@pytest.mark.parametrize("driver", DRIVERS)
async def test_meter_service_gateway_with_limit_of_registers_is_read(
    driver: str, limit: int, code: int
) -> None:
    meter = SimulatedMeter(load_model(driver))
    gateway = GatewayBehavior(max_registers=limit, limit_exception=code)
    states = await read_through(gateway, meter, driver=driver, polls=2)
    assert {state.quality for state in states} == {Quality.GOOD}
    requests = gateway.requests
    assert requests < 50
    assert states[-1].reading is not None
    assert states[-1].reading.frequency_hz is not None


@pytest.mark.parametrize("codes", [[6], [5, 6], [11], [10], [4], [2]])
async def test_meter_service_exception_for_moment_is_retried_within_poll(codes: list[int]) -> None:
    states = await read_through(GatewayBehavior(exceptions=list(codes)), moving(), polls=1)
    assert [state.quality for state in states] == [Quality.GOOD]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "cause", "text"),
    [
        (5, Cause.BUSY, "needs longer to answer"),
        (6, Cause.BUSY, "the meter or its gateway is busy"),
        (10, Cause.GATEWAY, "the gateway has no path to the meter"),
        (11, Cause.GATEWAY, "the meter behind the gateway does not answer"),
        (4, Cause.REFUSED, "exception 4 (device failure)"),
    ],
)
@pytest.mark.parametrize("driver", ["eastron-sdm630-v2", "sunspec-203"])
async def test_meter_service_lasting_exception_names_cause(
    driver: str, code: int, cause: Cause, text: str
) -> None:
    meter = SimulatedMeter(load_model(driver))
    meter.fault, meter.exception = Fault.EXCEPTION, code
    (state,) = await read_through(GatewayBehavior(), meter, driver=driver, polls=1)
    assert state.quality is Quality.DEAD
    assert text in state.problem
    assert "no SunSpec device" not in state.problem
    assert state.cause is cause


@pytest.mark.slow
async def test_slow_bus_delays_no_other_bus() -> None:
    """One gateway answers after 0.4 s, the other at once."""
    states: list[MeterState] = []
    with trio.fail_after(HANG_S):
        async with trio.open_nursery() as nursery:
            slow = await nursery.start(partial(serve_tcp, moving(), behavior=GatewayBehavior(delay_s=0.4)))
            fast = await nursery.start(partial(serve_tcp, moving()))
            meters = [
                MeterSettings(
                    id=name, driver="eastron-sdm630-v2", transport="tcp", host="127.0.0.1", port=port,
                    interval_s=0.01,
                )
                for name, port in (("slow", slow), ("fast", fast))
            ]  # fmt: skip
            done = trio.Event()

            def on_state(state: MeterState) -> None:
                states.append(state)
                if sum(each.meter == "slow" for each in states) == 2:
                    done.set()

            await nursery.start(run_meters, meters, on_state)
            await done.wait()
            nursery.cancel_scope.cancel()
    assert sum(state.meter == "fast" for state in states) > 20


async def test_meter_serial_number_is_read_once(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    place = SDM630.identify.serial_number
    assert place is not None
    meter = moving()
    for offset, word in enumerate((0x0012, 0xD687)):
        meter.set_register(place.function, place.address + offset, word)
    site = PolledMeters(meter)
    await site.run(10)
    assert [address for _, address in site.bus.requested].count(place.address) == 1
    assert site.pollers[0].reader.identity == MeterIdentity(serial_number="1234567")
    assert [record.getMessage() for record in caplog.records] == [
        "meter identified meter=meter-1 serial_number=1234567 firmware=-"
    ]
