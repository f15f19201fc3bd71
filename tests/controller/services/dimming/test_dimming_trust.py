"""Keys of dimming while the controller runs: a key is replaced, and signs without a restart."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from controller.config import Config
from controller.services.dimming import dimming_trust
from controller.services.dimming.dimming_trust import DimmingTrust
from controller.services.signing.policy_service import open_policy_service
from controller.signing.signing_keys import new_private_key, write_key_file
from controller.store.state_store import StateStore
from tests.scenario.configuration import read_valid_config
from tests.scenario.daemon_driver import RealClock

FOR_EVER = 4e9


def add_key(folder: Path, name: str, begins: float) -> None:
    write_key_file(folder / "keys", name, new_private_key("secp256r1", "lc", begins, FOR_EVER))


def configure(folder: Path, policy: str = "") -> Config:
    add_key(folder, "b-first", 0.0)
    (folder / "signing.toml").write_text("version = 1\n")
    return read_valid_config(
        f"""
        [site]
        id = "lc"
        [signing]
        key = "keys"
        {policy}
        [dimming]
        [[dimming.source]]
        id = "box"
        kind = "eebus"
        [eebus]
        [[circuit]]
        id = "grid"
        limit_a = 60
        [[station]]
        id = "CS01"
        circuit = "grid"
        [[station.evse]]
        id = 1
        steuve = true
        """,
        "test.toml",
        folder,
    )


def make_trust(config: Config, policy_service: object = None) -> DimmingTrust:
    assert config.dimming is not None
    return DimmingTrust(config, config.dimming, policy_service)  # type: ignore[arg-type]


async def test_dimming_trust_key_that_is_added_signs_without_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dimming_trust, "WATCH_S", 0.01)
    trust = make_trust(configure(tmp_path))
    first = trust.evidence_key().known.id
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trust.watch_own_keys)
        add_key(tmp_path, "a-second", 1.0)
        await RealClock().wait_until(
            lambda: trust.evidence_key().known.id != first, "the evidence is signed with the second key"
        )
        (tmp_path / "keys/b-first.pem").unlink()
        (tmp_path / "keys/broken.pem").write_text("no key")
        await trio.sleep(0.1)
        nursery.cancel_scope.cancel()
    assert len(trust.public_keys()) == 2, "what the first one has signed is verified with it"


async def test_dimming_trust_key_beside_policy_signs_without_restart(tmp_path: Path) -> None:
    config = configure(tmp_path, 'policy = "signing.toml"')
    policy_service = open_policy_service(config, StateStore(tmp_path / "store"))
    assert policy_service is not None
    trust = make_trust(config, policy_service)
    first = trust.evidence_key().known.id
    add_key(tmp_path, "a-second", 1.0)
    await policy_service.reload_changed_files()
    trust.update_keys()
    assert trust.evidence_key().known.id != first
    assert len(trust.public_keys()) == 2
