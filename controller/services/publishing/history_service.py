"""History at work: samples of the status, stored each quarter hour, and read for charts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import trio

from controller.history.history_records import BLOCK_S, MINUTE_S, HistoryMinutes, HistoryQuarter, Triple
from controller.history.recorder import HistoryRecorder
from controller.model.observations import EvseState
from controller.store.rule_types import key_of
from controller.store.state_store import StateStore
from controller.web.site_interface import HistorySeries
from controller.web.status_model import ControllerStatus

FINE_S = 2 * 86_400
"""Longest span that is returned in minutes; longer ones in quarter hours."""
CHUNK_DIGITS = 7
CHUNK_S = 100_000
"""Stored values are read in chunks of keys with the same leading digits."""

UNITS = {"power": "W", "limit": "W", "charging": "", "dimmed": ""}


class HistoryService:
    """The history of one site. `voltage` (V) turns currents into powers."""

    def __init__(
        self,
        store: StateStore,
        voltage: float,
        utc: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._voltage = voltage
        self._utc = utc
        self._recorder = HistoryRecorder()
        start = int(utc() // BLOCK_S) * BLOCK_S
        for stored in store.load(HistoryMinutes, key_of(start)):
            self._recorder.restore(stored)

    def on_status(self, status: ControllerStatus) -> None:
        """Record a sample of the status; each quarter hour is stored at its end."""
        records = self._recorder.add(self._sample(status), self._utc())
        if records:
            self._store.persist_soon(records)

    async def run(self) -> None:
        """Wait until cancelled; what the present quarter hour has by then is stored."""
        try:
            await trio.sleep_forever()
        finally:
            records = self._recorder.flush()
            if records:
                with trio.CancelScope(shield=True):
                    await self._store.persist(records)

    async def read(self, channels: Sequence[str], start: int, end: int) -> list[HistorySeries]:
        """Return the stored values of channels, none: of all, from `start` to `end` (POSIX s)."""
        is_fine = end - start <= FINE_S
        read = self._read_minutes if is_fine else self._read_quarters
        found = await trio.to_thread.run_sync(read, start, end)
        present = self._recorder.present
        if is_fine and present is not None:
            _collect_minutes([present], start, end, found)
        return [
            _series(name, values, MINUTE_S if is_fine else BLOCK_S)
            for name, values in sorted(found.items())
            if not channels or name in channels
        ]

    def _read_minutes(self, start: int, end: int) -> dict[str, dict[int, Triple]]:
        found: dict[str, dict[int, Triple]] = {}
        for prefix in _prefixes(start - BLOCK_S, end):
            _collect_minutes(self._store.load(HistoryMinutes, prefix), start, end, found)
        return found

    def _read_quarters(self, start: int, end: int) -> dict[str, dict[int, Triple]]:
        found: dict[str, dict[int, Triple]] = {}
        for prefix in _prefixes(start, end):
            for block in self._store.load(HistoryQuarter, prefix):
                if start <= block.start <= end:
                    for name, value in block.channels.items():
                        found.setdefault(name, {})[block.start] = value
        return found

    def _sample(self, status: ControllerStatus) -> dict[str, float]:
        """Return what is recorded of a status: power of each circuit, EVSEs that charge, dimming.

        Without a meter the power of a circuit is what its EVSEs draw; while its meter is not good, it is not
        known.
        """
        sample: dict[str, float] = {
            "charging": float(sum(evse.state is EvseState.CHARGING for evse in status.evses)),
        }
        if status.dimming is not None:
            sample["dimmed"] = float(status.dimming.dimmed)
        drawn = self._drawn_by_circuit(status)
        for circuit in status.circuits:
            if circuit.meter_quality is None:
                sample[f"power/{circuit.id}"] = drawn[circuit.id] * self._voltage
            elif circuit.meter_quality == "good" and circuit.measured_a is not None:
                sample[f"power/{circuit.id}"] = sum(circuit.measured_a) * self._voltage
        return sample

    def _drawn_by_circuit(self, status: ControllerStatus) -> dict[str, float]:
        """Return what the EVSEs below each circuit draw (A, all phases)."""
        parents = {circuit.id: circuit.parent for circuit in status.circuits}
        drawn = dict.fromkeys(parents, 0.0)
        for evse in status.evses:
            above: str | None = evse.circuit
            while above is not None:
                drawn[above] += sum(evse.drawn_a)
                above = parents[above]
        return drawn


def _collect_minutes(
    blocks: Sequence[HistoryMinutes], start: int, end: int, found: dict[str, dict[int, Triple]]
) -> None:
    for block in blocks:
        for name, values in block.channels.items():
            for index, value in enumerate(values):
                at = block.start + index * MINUTE_S
                if value is not None and start <= at <= end:
                    found.setdefault(name, {})[at] = value


def _series(channel: str, values: dict[int, Triple], interval_s: int) -> HistorySeries:
    times = sorted(values)
    return HistorySeries(
        channel=channel,
        unit=UNITS.get(channel.partition("/")[0], ""),
        interval_s=interval_s,
        times=times,
        low=[values[at][0] for at in times],
        mean=[values[at][1] for at in times],
        high=[values[at][2] for at in times],
    )


def _prefixes(start: int, end: int) -> Iterator[str]:
    """Yield the beginnings of all keys from `start` to `end`."""
    for chunk in range(max(0, start) // CHUNK_S, end // CHUNK_S + 1):
        yield f'["{chunk:0{CHUNK_DIGITS}d}'
