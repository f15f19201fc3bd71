"""The limit of open files: it is raised if possible, and reported if too low."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from controller.transport.file_descriptors import raise_descriptor_limit

UNIT = Path(__file__).parents[3] / "systemd" / "local-controller.service"


class System:
    """The system's word on open files. `allows`: whether it may be raised."""

    def __init__(self, soft: int, hard: int, *, allows: bool = True) -> None:
        self.limits = (soft, hard)
        self.allows = allows

    def get(self, _: int) -> tuple[int, int]:
        return self.limits

    def set(self, _: int, limits: tuple[int, int]) -> None:
        if not self.allows:
            raise PermissionError
        self.limits = limits


@pytest.mark.parametrize(
    ("system", "may_be", "complains"),
    [
        (System(4096, 8192), 4096, False),
        (System(1024, 524_288), 2064, False),
        (System(1024, 2000), 2000, True),
        (System(1024, 524_288, allows=False), 1024, True),
    ],
)
def test_file_descriptors_thousand_links(
    system: System,
    may_be: int,
    complains: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(resource, "getrlimit", system.get)
    monkeypatch.setattr(resource, "setrlimit", system.set)
    assert raise_descriptor_limit(1000) == may_be
    assert ("LimitNOFILE=" in caplog.text) is complains


def test_file_descriptors_service_has_room_for_ten_thousand_stations() -> None:
    """It may not raise the limit by itself: its system calls are filtered."""
    (limit,) = [line for line in UNIT.read_text().splitlines() if line.startswith("LimitNOFILE=")]
    assert int(limit.partition("=")[2]) >= 2 * 20_000
