"""Polling on a virtual clock: every fault is a state and one clear log line, and the others go on."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from functools import partial

import pytest
import trio
from msgspec import structs

from drivers.health import FROZEN_S
from drivers.meter import MeterPoller, poll_in_turn, run_meters
from drivers.reading import MeterState, Quality
from drivers.registers import RegisterFileWrong, load_map
from drivers.settings import MeterSettings
from drivers.simulated import Fault, SimulatedMeter, serve_tcp
from tests.drivers.memory_line import MemoryLine

SDM630 = load_map("eastron-sdm630-v2")


def settings(unit: int = 1, driver: str = "eastron-sdm630-v2", meter: str = "") -> MeterSettings:
    return MeterSettings(
        id=meter or f"meter-{unit}", driver=driver, transport="rtu", device="/dev/line", unit=unit
    )


class Site:
    """Meters on one line, polled; what they published, and when."""

    def __init__(self, *meters: SimulatedMeter, driver: str = "eastron-sdm630-v2") -> None:
        self.line = MemoryLine(*meters)
        self.heard: list[tuple[float, MeterState]] = []
        self._pollers = [MeterPoller(settings(meter.unit, driver), self._hear) for meter in meters]

    def _hear(self, state: MeterState) -> None:
        self.heard.append((trio.current_time(), state))

    async def run(self, seconds: float) -> MeterState:
        """Poll for so long; the newest state."""
        with trio.move_on_after(seconds):
            await poll_in_turn(self.line, self._pollers)
        return self.heard[-1][1]

    def qualities(self) -> list[Quality]:
        """In order, without repetitions."""
        return [quality for quality, _ in itertools.groupby(state.quality for _, state in self.heard)]


def moving(unit: int = 1) -> SimulatedMeter:
    meter = SimulatedMeter(SDM630, unit)
    meter.set({"current_l1": 0.1, "current_l2": 0.2, "current_l3": 0.3, "voltage_l1": 230.0})
    return meter


async def test_a_meter_is_read_once_in_its_interval(autojump_clock: trio.testing.MockClock) -> None:
    site = Site(moving())
    state = await site.run(9.9)
    assert len(site.heard) == 10
    assert state.quality is Quality.GOOD
    assert state.reading is not None
    assert state.reading.current_a == pytest.approx((0.1, 0.2, 0.3))
    assert state.reading.time == site.heard[-1][0]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault.SILENT, "no answer from unit 1 on /dev/line within 1 s; check its wiring"),
        (Fault.BAD_CRC, "no answer from unit 1"),
        (Fault.HALF_FRAME, "no answer from unit 1"),
        (Fault.FOREIGN_UNIT, "no answer from unit 1"),
        (Fault.EXCEPTION, "exception 4 (device failure) to 18 registers from 0; is"),
    ],
)
async def test_a_meter_that_fails_is_stale_then_dead_then_good_again_with_a_line_each(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture, fault: Fault, said: str
) -> None:
    meter = moving()
    site = Site(meter)
    await site.run(3)
    meter.fault = fault
    state = await site.run(120)
    assert site.qualities() == [Quality.GOOD, Quality.STALE, Quality.DEAD]
    assert state.reading is not None
    assert said in state.problem
    meter.fault = None
    assert (await site.run(12)).quality is Quality.GOOD
    told = [(record.name, record.levelno, record.getMessage()) for record in caplog.records]
    assert {name for name, _, _ in told} == {"drivers.meter"}
    assert all(level == logging.WARNING for _, level, _ in told)
    stale, dead, good = [message for _, _, message in told]
    assert stale.startswith("meter meter-1 is stale: ")
    assert said in stale
    assert dead.startswith("meter meter-1 is dead: ")
    assert good == "meter meter-1 is good again"


async def test_one_lost_poll_is_no_news(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    meter = moving()
    site = Site(meter)
    await site.run(3)
    meter.fault = Fault.SILENT
    await site.run(1.5)
    meter.fault = None
    await site.run(3)
    assert site.qualities() == [Quality.GOOD]
    assert not caplog.records


async def test_nonsense_is_implausible_at_once(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    meter = moving()
    site = Site(meter)
    await site.run(3)
    meter.fault = Fault.NOT_A_NUMBER
    state = await site.run(0.5)
    assert state.quality is Quality.IMPLAUSIBLE
    assert state.problem.startswith("it has no value for current_l1")
    await site.run(60)
    assert len(caplog.records) == 1


async def test_a_frozen_meter_is_stale(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    meter = moving()
    meter.set({"current_l1": 12.0})
    site = Site(meter)
    await site.run(FROZEN_S - 0.5)
    assert site.qualities() == [Quality.GOOD]
    assert (await site.run(60)).quality is Quality.STALE
    assert len(caplog.records) == 1
    assert "repeated itself" in caplog.records[0].getMessage()


async def test_a_line_that_is_pulled_out_and_put_back(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    site = Site(moving())
    await site.run(3)
    site.line.plugged = False
    state = await site.run(60)
    assert state.quality is Quality.DEAD
    assert state.problem == "/dev/line is gone; plug it in again"
    site.line.plugged = True
    assert (await site.run(12)).quality is Quality.GOOD
    assert len(caplog.records) == 3


async def test_dead_units_do_not_starve_the_others(autojump_clock: trio.testing.MockClock) -> None:
    alive, *dead = moving(1), moving(2), moving(3)
    for meter in dead:
        meter.fault = Fault.SILENT
    site = Site(alive, *dead)
    await site.run(600)
    assert {state.quality for _, state in site.heard if state.meter == "meter-1"} == {Quality.GOOD}
    read = [state.reading.time for _, state in site.heard if state.meter == "meter-1" and state.reading]
    gaps = [later - earlier for earlier, later in itertools.pairwise(read)]
    assert max(gaps) <= 3.5
    assert len(read) >= 400
    asked = Counter(unit for unit, _ in site.line.asked)
    assert asked[2] < asked[1] / 5


async def test_a_dead_unit_is_published_at_every_turn(autojump_clock: trio.testing.MockClock) -> None:
    meter = moving()
    meter.fault = Fault.SILENT
    site = Site(meter)
    await site.run(100)
    times = [time for time, _ in site.heard]
    assert (
        max(later - earlier for earlier, later in itertools.pairwise(times)) <= 2.2
    )  # interval, timeout, pause


async def test_a_meter_that_refuses_gaps_is_read_without_them(autojump_clock: trio.testing.MockClock) -> None:
    meter = SimulatedMeter(SDM630, filled=False)
    site = Site(meter)
    state = await site.run(5)
    assert site.qualities() == [Quality.GOOD]
    assert state.reading is not None
    assert state.reading.frequency_hz is not None
    assert [address for _, address in site.line.asked[:5]] == [0, 52, 0, 52, 70]


async def test_a_meter_without_energy_is_still_a_meter(autojump_clock: trio.testing.MockClock) -> None:
    abb = load_map("abb-b23")
    poorer = structs.replace(
        abb, register=tuple(each for each in abb.register if not each.quantity.startswith("energy"))
    )
    currents_only = SimulatedMeter(poorer, filled=False)
    state = await Site(currents_only, driver="abb-b23").run(5)
    assert state.quality is Quality.GOOD
    assert state.reading is not None
    assert state.reading.energy_import_wh is None
    assert state.reading.voltage_v[0] is not None


@pytest.mark.parametrize("driver", ["sunspec-203", "sunspec-213"])
async def test_a_sunspec_meter_is_found_once_and_again_after_it_was_away(
    autojump_clock: trio.testing.MockClock, driver: str
) -> None:
    meter = SimulatedMeter(load_map(driver))
    site = Site(meter, driver=driver)
    await site.run(2.5)
    assert [address for _, address in site.line.asked] == [40000, 40002, 40070, 40072, 40072, 40072]
    meter.fault = Fault.SILENT
    await site.run(60)
    meter.fault = None
    site.line.asked.clear()
    assert (await site.run(12)).quality is Quality.GOOD
    assert (1, 40000) in site.line.asked


async def test_what_is_no_sunspec_device_is_dead_with_the_reason(
    autojump_clock: trio.testing.MockClock,
) -> None:
    state = await Site(moving(), driver="sunspec-203").run(5)
    assert state.quality is Quality.DEAD
    assert 'no "SunS"' in state.problem


async def test_a_meter_gets_the_pause_that_it_asks_for(autojump_clock: trio.testing.MockClock) -> None:
    site = Site(moving(1), moving(2))
    await site.run(30)
    gaps = [later - earlier for earlier, later in itertools.pairwise(site.line.asked_at)]
    assert min(gaps) >= SDM630.read.gap_ms / 1000 - 1e-9


async def test_meters_on_the_same_line_share_it(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[MeterSettings] = []

    def open_in_memory(first: MeterSettings) -> MemoryLine:
        opened.append(first)
        return MemoryLine(moving(1), moving(2))

    monkeypatch.setattr("drivers.meter.open_line", open_in_memory)
    on_tcp = partial(MeterSettings, driver="eastron-sdm630-v2", transport="tcp", host="gateway")
    meters = [
        settings(1, meter="row"),
        settings(2, meter="lift"),
        on_tcp(id="default-port", unit=1),
        on_tcp(id="same-port", unit=2, port=502),
        on_tcp(id="other-port", port=503),
    ]
    heard: dict[str, Quality] = {}
    with trio.move_on_after(5):
        await run_meters(meters, lambda state: heard.update({state.meter: state.quality}))
    assert [each.id for each in opened] == ["row", "default-port", "other-port"]
    assert heard == dict.fromkeys((each.id for each in meters), Quality.GOOD)


async def test_a_real_socket_serves_two_meters_on_one_line() -> None:
    heard: dict[str, MeterState] = {}
    both = trio.Event()

    def hear(state: MeterState) -> None:
        heard[state.meter] = state
        if len(heard) == 2:
            both.set()

    janitza = load_map("janitza-umg604")
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(serve_tcp, SimulatedMeter(janitza, 1), SimulatedMeter(janitza, 2))
            meters = [
                MeterSettings(
                    id=f"m{unit}",
                    driver="janitza-umg604",
                    transport="tcp",
                    host="127.0.0.1",
                    port=port,
                    unit=unit,
                )
                for unit in (1, 2)
            ]
            await nursery.start(run_meters, meters, hear)
            await both.wait()
            nursery.cancel_scope.cancel()
    assert {state.quality for state in heard.values()} == {Quality.GOOD}


async def test_an_unknown_driver_is_an_error_before_anything_starts() -> None:
    with pytest.raises(RegisterFileWrong, match="did you mean"):
        await run_meters([settings(driver="janitza-umg605")], lambda state: None)
