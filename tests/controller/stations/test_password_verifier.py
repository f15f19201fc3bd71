"""Checks of hashed passwords: once each, a few at once, and never in the way of the links."""

from __future__ import annotations

import threading
from functools import partial

import pytest
import trio
import trio.testing

from controller.config.password_files import HashedPassword, hash_password
from controller.ocpp.frames import Version
from controller.stations import password_verifier
from controller.stations.admission import Admission, PasswordUnverified, Rejection
from controller.stations.password_verifier import PasswordVerifier
from controller.transport.http_upgrade import basic_authorization
from tests.scenario.link_harness import link_harness, receive_text

GOOD = b"correct horse battery"
HASHED = hash_password(GOOD, b"salt", log_n=4)


def shown(password: bytes, station: str = "CS01", kept: HashedPassword = HASHED) -> PasswordUnverified:
    return PasswordUnverified(
        station, basic_authorization(station, password), (kept,), Admission(station, Version.V16)
    )


class CountedHashes:
    """How often a hash was computed, and how many at the same time; each waits until it is let go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = self.at_once = self.most = 0
        self.go_on, self.begun = threading.Event(), threading.Semaphore(0)
        self.go_on.set()
        self._lock = threading.Lock()
        compute = PasswordUnverified.verify_password

        def is_right(unproven: PasswordUnverified) -> bool:
            with self._lock:
                self.calls += 1
                self.at_once += 1
                self.most = max(self.most, self.at_once)
            self.begun.release()
            self.go_on.wait(5)
            with self._lock:
                self.at_once -= 1
            return compute(unproven)

        monkeypatch.setattr(PasswordUnverified, "verify_password", is_right)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> CountedHashes:
    return CountedHashes(monkeypatch)


async def test_right_password_is_computed_once(counted: CountedHashes) -> None:
    checks = PasswordVerifier()
    for _ in range(3):
        assert isinstance(await checks.decide(shown(GOOD)), Admission)
    assert counted.calls == 1


async def test_wrong_password_is_refused_and_keeps_accepted_one(counted: CountedHashes) -> None:
    checks = PasswordVerifier()
    await checks.decide(shown(GOOD))
    for _ in range(2):
        refused = await checks.decide(shown(b"guess"))
        assert isinstance(refused, Rejection)
        assert refused.status == 401
    assert counted.calls == 3
    assert isinstance(await checks.decide(shown(GOOD)), Admission)
    assert counted.calls == 3


async def test_password_cache_of_one_station_admits_no_other(counted: CountedHashes) -> None:
    checks = PasswordVerifier()
    await checks.decide(shown(GOOD))
    stolen = PasswordUnverified(
        "CS02", basic_authorization("CS01", GOOD), (HASHED,), Admission("CS02", Version.V16)
    )
    assert isinstance(await checks.decide(stolen), Rejection)


async def test_password_verifier_new_configured_hash_is_verified_again(counted: CountedHashes) -> None:
    checks = PasswordVerifier()
    await checks.decide(shown(GOOD))
    changed = hash_password(b"another", b"salt", log_n=4)
    assert isinstance(await checks.decide(shown(GOOD, kept=changed)), Rejection)
    assert counted.calls == 2


async def test_guesses_of_one_station_wait_and_delay_no_other(counted: CountedHashes) -> None:
    checks = PasswordVerifier(at_once=2)
    counted.go_on.clear()
    verdicts: list[object] = []

    async def settle(unproven: PasswordUnverified) -> None:
        verdicts.append(await checks.decide(unproven))

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(settle, shown(b"guess%d" % number))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(settle, shown(GOOD, "CS02"))
        for _ in range(2):
            assert await trio.to_thread.run_sync(partial(counted.begun.acquire, timeout=5))
        await trio.testing.wait_all_tasks_blocked()
        assert counted.calls == 2
        counted.go_on.set()
    assert counted.most == 2
    assert sum(isinstance(verdict, Admission) for verdict in verdicts) == 1


async def test_password_verifier_hashes_at_once_are_bounded(counted: CountedHashes) -> None:
    checks = PasswordVerifier(at_once=2)
    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(checks.decide, shown(GOOD, f"CS{number}"))
    assert counted.calls == 20
    assert counted.most <= 2


async def test_password_verifier_queue_too_long_is_refused_with_retry(
    counted: CountedHashes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(password_verifier, "VERIFY_TIMEOUT_S", 0.05)
    checks = PasswordVerifier(at_once=1)
    counted.go_on.clear()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(checks.decide, shown(GOOD, "CS02"))
        await trio.testing.wait_all_tasks_blocked()
        refused = await checks.decide(shown(GOOD, "CS03"))
        counted.go_on.set()
    assert isinstance(refused, Rejection)
    assert refused.status == 503


async def test_password_verifier_wrong_user_costs_as_much_as_wrong_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    computed: list[bytes] = []

    def compute(_: HashedPassword, password: bytes) -> bool:
        computed.append(password)
        return False

    monkeypatch.setattr(HashedPassword, "matches", compute)
    for authorization in (
        basic_authorization("CS01", b"guess"),
        basic_authorization("nobody", GOOD),
        b"Bearer abc",
        b"Basic !!!",
    ):
        PasswordUnverified("CS01", authorization, (HASHED,), Admission("CS01", Version.V16)).verify_password()
    assert computed == [b"guess", GOOD, b"", b""]


async def test_password_verifier_links_go_on_while_hash_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    computing, go_on = threading.Event(), threading.Event()

    def slow(_: HashedPassword, password: bytes) -> bool:
        computing.set()
        go_on.wait(5)
        return password == GOOD

    monkeypatch.setattr(HashedPassword, "matches", slow)
    async with link_harness(CS02=HASHED) as site, site.connect_station() as station:
        backend = await site.csms.accept()

        async def newcomer() -> None:
            header = (b"Authorization", basic_authorization("CS02", GOOD))
            async with site.connect_station("CS02", headers=[header]):
                await site.csms.accept()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(newcomer)
            assert await trio.to_thread.run_sync(computing.wait, 5)
            await station.send_message('[2,"1","Heartbeat",{}]')
            assert await receive_text(backend) == '[2,"1","Heartbeat",{}]'
            assert site.stats.accepted == 1
            go_on.set()
        assert site.stats.accepted == 2
        assert site.csms.requests[-1].headers  # the newcomer's own: its password went no further
        assert not any(name.lower() == b"authorization" for name, _ in site.csms.requests[-1].headers)
