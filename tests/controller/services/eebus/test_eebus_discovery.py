"""mDNS of the EEBUS node: what is announced, what is found, and that its threads end with it."""

from __future__ import annotations

import threading

import pytest
import trio
from msgspec.structs import replace

from controller.services.eebus import eebus_discovery
from controller.services.eebus.eebus_connections import Target
from controller.services.eebus.eebus_discovery import EebusDiscovery, Found, own_addresses, service_info
from drivers.eebus.announcement import Announcement
from tests.bounds import HANG_S

OURS = Announcement(ski="ab" * 20, ship_id="local-controller-EMS-test-one", brand="LC", model="EMS")
BOX = Announcement(ski="cd" * 20, ship_id="local-controller-EMS-test-box", brand="Box", model="Guard")


def nothing() -> None:
    pass


def discovery(announcement: Announcement = OURS, port: int = 4712) -> EebusDiscovery:
    return EebusDiscovery(announcement, "0.0.0.0", lambda: port, nothing)


def found(announcement: Announcement, host: str = "192.0.2.1") -> Found:
    return Found(announcement, Target(host, 4712, "/ship/"))


def test_service_is_announced_with_txt_record_and_addresses() -> None:
    info = service_info(OURS, 4712, ["192.0.2.7", "198.51.100.7"])
    assert info.name == "local-controller-EMS-test-one._ship._tcp.local."
    assert info.port == 4712
    assert info.parsed_addresses() == ["192.0.2.7", "198.51.100.7"]
    assert info.properties[b"ski"] == OURS.ski.encode()
    assert info.properties[b"cat"] == b"2"


def test_eebus_discovery_addresses_are_those_of_listener() -> None:
    assert own_addresses("192.0.2.9") == ["192.0.2.9"]
    assert own_addresses("127.0.0.1") == ["127.0.0.1"]
    everywhere = own_addresses("0.0.0.0")
    assert everywhere
    assert own_addresses("lc.example") == everywhere


def test_partner_is_found_moves_and_is_gone() -> None:
    node = discovery()
    node.on_found("box._ship._tcp.local.", found(BOX))
    node.on_found("box._ship._tcp.local.", found(BOX, "192.0.2.2"))
    assert node.found[BOX.ski].target.host == "192.0.2.2"
    node.on_found("box._ship._tcp.local.", None)
    assert node.found == {}
    node.on_found("never seen", None)


def test_own_announcement_is_no_partner() -> None:
    node = discovery()
    node.on_found("ours", found(OURS))
    assert node.found == {}


def test_partners_without_end_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eebus_discovery, "MOST_FOUND", 3)
    node = discovery()
    for number in range(9):
        node.on_found(f"box{number}", found(replace(BOX, ski=f"{number:040x}")))
    assert len(node.found) == 3


async def test_nodes_find_each_other_and_leave_no_thread() -> None:
    before = threading.active_count()
    ours, box = discovery(OURS, 4712), discovery(BOX, 4713)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours.run)
        nursery.start_soon(box.run)
        with trio.fail_after(HANG_S):
            while BOX.ski not in ours.found or OURS.ski not in box.found:  # noqa: ASYNC110
                await trio.sleep(0.05)
            assert (ours.found[BOX.ski].target.port, ours.found[BOX.ski].target.path) == (4713, "/ship/")
            assert not ours.found[BOX.ski].announcement.register
            box.announce(replace(BOX, register=True))
            while not (BOX.ski in ours.found and ours.found[BOX.ski].announcement.register):  # noqa: ASYNC110
                await trio.sleep(0.05)
        nursery.cancel_scope.cancel()
    with trio.fail_after(HANG_S):
        while any("zeroconf" in each.name.lower() for each in threading.enumerate()):  # noqa: ASYNC110
            await trio.sleep(0.05)
    assert threading.active_count() <= before + 4  # trio keeps a few idle threads


@pytest.mark.parametrize("error", [OSError("no network"), RuntimeError("unforeseen")])
async def test_failed_mdns_is_logged_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    attempts = 0
    failed = trio.Event()

    def fail() -> object:
        nonlocal attempts
        attempts += 1
        if attempts == 3:
            trio.from_thread.run_sync(failed.set)
        raise error

    monkeypatch.setattr(eebus_discovery, "Zeroconf", fail)
    monkeypatch.setattr(eebus_discovery, "RETRY_S", 0.01)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(discovery().run)
        with trio.fail_after(HANG_S):
            await failed.wait()
        nursery.cancel_scope.cancel()
    assert "mDNS failed" in caplog.text
    assert str(error) in caplog.text
