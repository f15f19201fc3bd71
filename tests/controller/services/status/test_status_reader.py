from __future__ import annotations

import msgspec
import trio
import trio.testing

from controller.model.parts import Parts
from controller.services.status.status_reader import SAMPLE_S, sample_status
from controller.web.status_model import ControllerStatus
from tests.controller.web.examples import STATUS


async def test_sampler_lets_other_tasks_run_between_parts(autojump_clock: trio.testing.MockClock) -> None:
    done: list[str] = []
    seen: list[ControllerStatus] = []

    def read_parts() -> Parts[ControllerStatus]:
        for _ in range(3):
            done.append("part")
            yield
        return STATUS

    async def work() -> None:
        while "part" not in done:
            await trio.lowlevel.checkpoint()
        for _ in range(3):
            done.append("other")
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(work)
        nursery.start_soon(sample_status, read_parts, [seen.append])
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert done.index("other") < len(done) - 1 - done[::-1].index("part"), "between the first and the last"
    assert seen == [STATUS]


async def test_sampler_passes_same_status_to_all_each_interval(
    autojump_clock: trio.testing.MockClock,
) -> None:
    first: list[ControllerStatus] = []
    second: list[ControllerStatus] = []
    times: list[float] = []

    def read_parts() -> Parts[ControllerStatus]:
        times.append((yield))
        return msgspec.structs.replace(STATUS)

    with trio.move_on_after(2.5 * SAMPLE_S):
        await sample_status(read_parts, [first.append, second.append])
    assert len(first) == len(second) == 3
    assert all(one is other for one, other in zip(first, second, strict=True))
    assert [round(at - times[0]) for at in times] == [0, SAMPLE_S, 2 * SAMPLE_S], "it is sent the time"
