"""`backup` and `restore`: a site is moved to another machine; secrets are encrypted or left out."""

from __future__ import annotations

import errno
import os
import zipfile
from pathlib import Path

import msgspec
import pytest

from controller.cli.main import main
from controller.cli.site_archive import MANIFEST
from controller.cli.site_files import find_site_files
from controller.model.journal import BootStored
from controller.services.stations.relay_memory import KEY_BYTES, open_token_key
from controller.signing.replay_cache import ReplayRecord
from controller.store.credential_records import CredentialStored
from controller.store.evidence_records import EvidenceHead
from controller.store.memory_loss import CONSEQUENCE
from controller.store.record_rules import RULES
from controller.store.state_store import StateStore
from controller.store.store_files import KEY_FILE
from controller.store.store_lock import hold_store

CONFIG = """
[site]
id = "lc"
[store]
directory = "state"
[[backend]]
id = "cpo"
url = "ws://127.0.0.1:1/{station}"
password_file = "keys/cpo"
[[circuit]]
id = "grid"
limit_a = 40
[[station]]
id = "CS01"
circuit = "grid"
owner = "cpo"
"""
BOOT = BootStored("CS01", "ACME", "One", "1")
CREDENTIAL = CredentialStored("CS01", "owner", "$scrypt$secret-hash")
PASSWORD = "the-password-of-the-backend"
PASSPHRASE = "correct horse battery staple"
TOKEN_KEY = bytes(range(KEY_BYTES))


SERVICE_USER = 12345


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Return the configuration of a site with state, a secret file and evidence."""
    folder = tmp_path / "old"
    (folder / "keys").mkdir(parents=True)
    (folder / "keys" / "cpo").write_text(PASSWORD)
    (folder / "keys" / "cpo").chmod(0o640)
    (folder / "controller.toml").write_text(CONFIG)
    store = StateStore(folder / "state")
    store.persist_now([BOOT, CREDENTIAL])
    store.close()
    (folder / "state" / KEY_FILE).write_bytes(TOKEN_KEY)
    (folder / "state" / "evidence").mkdir()
    (folder / "state" / "evidence" / "evidence-000000000-2026-11.jsonl").write_bytes(b"{}\n")
    return folder / "controller.toml"


@pytest.fixture
def passphrase(tmp_path: Path) -> Path:
    (tmp_path / "passphrase").write_text(PASSPHRASE + "\n")
    return tmp_path / "passphrase"


def back_up(site: Path, out: Path, *options: str | Path) -> int:
    return main(["backup", "-c", str(site), "--out", str(out), *map(str, options)])


def restore(file: Path, config: Path, *options: str | Path) -> int:
    return main(["restore", "-c", str(config), str(file), *map(str, options)])


def state_of(folder: Path) -> tuple[list[BootStored], list[CredentialStored]]:
    store = StateStore(folder / "state")
    try:
        return store.load(BootStored), store.load(CredentialStored)
    finally:
        store.close()


def test_backup_with_passphrase_restores_everything_elsewhere(
    site: Path, passphrase: Path, tmp_path: Path
) -> None:
    out, new = tmp_path / "site.zip", tmp_path / "new" / "controller.toml"
    with hold_store(site.parent / "state"):  # the controller runs
        assert back_up(site, out, "--passphrase-file", passphrase) == 0
    assert out.stat().st_mode & 0o077 == 0
    with zipfile.ZipFile(out) as archive:
        content = b"".join(archive.read(name) for name in archive.namelist())
    assert PASSWORD.encode() not in content
    assert b"secret-hash" not in content
    assert restore(out, new, "--passphrase-file", passphrase) == 0
    assert new.read_text() == CONFIG
    assert (new.parent / "keys" / "cpo").read_text() == PASSWORD
    assert (new.parent / "keys" / "cpo").stat().st_mode & 0o007 == 0
    assert (new.parent / "state" / "evidence" / "evidence-000000000-2026-11.jsonl").read_bytes() == b"{}\n"
    assert state_of(new.parent) == ([BOOT], [CREDENTIAL])
    # Hashes of idTokens in the state are made with it: without it no card is known on the new machine.
    assert open_token_key(new.parent / "state" / KEY_FILE) == TOKEN_KEY
    assert (new.parent / "state" / KEY_FILE).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("short", "expected"),
    [
        (
            "abc",
            "the passphrase has 3 characters; use at least 12, e.g. four words that do not belong together",
        ),
        ("abcabcabcabc", "the passphrase repeats few characters; use at least six different ones"),
    ],
)
def test_backup_with_weak_passphrase_is_not_written(
    site: Path,
    passphrase: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    short: str,
    expected: str,
) -> None:
    out = tmp_path / "site.zip"
    passphrase.write_text(short)
    assert back_up(site, out, "--passphrase-file", passphrase) == 1
    assert capsys.readouterr().err == f"{expected}; {out} was not written\n"
    monkeypatch.setattr("getpass.getpass", lambda prompt: short)
    assert back_up(site, out, "--passphrase") == 1
    assert capsys.readouterr().err == f"{expected}; {out} was not written\n"
    assert not out.exists()


def test_backup_of_invalid_configuration_says_what_to_do(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert back_up(site, tmp_path / "valid.zip") == 0
    assert "has errors" not in capsys.readouterr().err
    site.write_text(site.read_text().replace("limit_a", "limit"))
    assert back_up(site, tmp_path / "invalid.zip") == 0
    assert f"{site} has errors, and no controller starts with it after a restore" in capsys.readouterr().err


def test_without_passphrase_names_what_it_leaves_out(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, new = tmp_path / "site.zip", tmp_path / "new" / "controller.toml"
    assert back_up(site, out) == 0
    left_out = ["not in the backup: keys/cpo", "not in the backup: passwords and keys in the store"]
    assert capsys.readouterr().out.splitlines()[1:] == left_out
    assert restore(out, new) == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines()[1:] == [CONSEQUENCE, *left_out]
    assert "keys/cpo cannot be read" in captured.err
    assert state_of(new.parent) == ([BOOT], [])
    assert not (new.parent / "state" / KEY_FILE).exists()


def store_boot(site: Path, station: str) -> None:
    store = StateStore(site.parent / "state")
    store.persist_now([BootStored(station, "ACME", "Two", "2")])
    store.close()


def test_backup_restore_over_site_needs_replace_and_keeps_evidence(
    site: Path, passphrase: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "site.zip"
    assert back_up(site, out, "--passphrase-file", passphrase) == 0
    store_boot(site, "CS02")
    assert restore(out, site, "--passphrase-file", passphrase) == 1
    assert len(state_of(site.parent)[0]) == 2
    assert restore(out, site, "--passphrase-file", passphrase, "--replace") == 0
    assert state_of(site.parent) == ([BOOT], [CREDENTIAL])
    assert CONSEQUENCE in capsys.readouterr().out
    assert [each.provisional for each in StateStore(site.parent / "state").load(ReplayRecord)] == [True]
    [aside] = (site.parent / "state").glob("evidence.before-*")
    assert [each.name for each in aside.iterdir()] == ["evidence-000000000-2026-11.jsonl"]


@pytest.mark.parametrize("full_after", range(4))
def test_backup_restore_on_full_disk_changes_nothing(
    site: Path,
    passphrase: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    full_after: int,
) -> None:
    out = tmp_path / "site.zip"
    assert back_up(site, out, "--passphrase-file", passphrase) == 0
    store_boot(site, "CS02")
    before = {
        path: path.read_bytes()
        for path in site.parent.rglob("*")
        if path.is_file() and "sqlite" not in path.name
    }
    written = 0

    def fsync(_: int) -> None:
        nonlocal written
        written += 1
        if written > full_after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full:
        full.setattr(os, "fsync", fsync)
        assert restore(out, site, "--passphrase-file", passphrase, "--replace") == 1
    [line] = capsys.readouterr().err.splitlines()[-1:]
    assert line.startswith(str(site.parent))
    assert line.endswith(": No space left on device; make room on the disk")
    assert {path: path.read_bytes() for path in before} == before
    assert not list(site.parent.rglob("*.new"))
    assert len(state_of(site.parent)[0]) == 2
    assert restore(out, site, "--passphrase-file", passphrase, "--replace") == 0


def test_restore_by_root_gives_configuration_to_service_user(
    site: Path, passphrase: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, new = tmp_path / "site.zip", tmp_path / "new" / "controller.toml"
    assert back_up(site, out, "--passphrase-file", passphrase) == 0
    (new.parent / "state").mkdir(parents=True)
    if os.geteuid() == 0:
        os.chown(new.parent / "state", SERVICE_USER, SERVICE_USER)
    service_user = (new.parent / "state").stat().st_uid
    owners: dict[str, int] = {}

    def fchown(handle: int, owner: int, group: int) -> None:
        owners[Path(f"/proc/self/fd/{handle}").readlink().name.removesuffix(".new")] = owner

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", lambda *_: None)
    monkeypatch.setattr(os, "fchown", fchown)
    assert restore(out, new, "--passphrase-file", passphrase) == 0
    assert owners["controller.toml"] == service_user
    assert owners["cpo"] == 0


def test_backup_restore_while_controller_runs_is_rejected(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "site.zip"
    assert back_up(site, out) == 0
    with hold_store(site.parent / "state"):
        assert restore(out, site, "--replace") == 1
    assert ": stop it first\nsudo systemctl stop 'local-controller*'\n" in capsys.readouterr().err


def test_restore_with_another_passphrase_changes_nothing(
    site: Path, passphrase: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, new = tmp_path / "site.zip", tmp_path / "new" / "controller.toml"
    assert back_up(site, out, "--passphrase-file", passphrase) == 0
    passphrase.write_text("another")
    assert restore(out, new, "--passphrase-file", passphrase) == 1
    assert "passphrase is wrong" in capsys.readouterr().err
    assert not new.parent.exists()
    assert restore(out, new, "--without-secrets") == 1
    assert state_of(new.parent) == ([BOOT], [])


def test_restore_over_present_site_asks_for_no_passphrase(
    site: Path, passphrase: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "site.zip"
    assert back_up(site, out, "--passphrase-file", passphrase) == 0
    assert restore(out, site) == 1
    assert "exists; --replace replaces it and the state" in capsys.readouterr().err


def rewrite(file: Path, **changed: object) -> None:
    """Write an archive anew with other members of its manifest, or other members of the archive."""
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    manifest = msgspec.json.decode(members[MANIFEST])
    for name, value in changed.items():
        if isinstance(value, bytes):
            members[name] = value
        else:
            manifest[name] = value
    members[MANIFEST] = msgspec.json.encode(manifest)
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"schema": 99, "program": "9.0"}, "version 9.0, which is newer"),
        ({"version": 2}, "newer than this one"),
        ({"format": "zip"}, "not one that `local-controller backup` has made"),
        ({"state.jsonl": b"{}"}, "digest is wrong"),
        ({"digests": {"../outside": "0" * 64}}, "leads out of its directory"),
        ({"digests": {"missing": "0" * 64}}, "damaged"),
    ],
    ids=["newer store", "newer format", "other format", "changed member", "path out", "missing member"],
)
def test_backup_restore_of_unusable_archive_changes_nothing(
    site: Path,
    tmp_path: Path,
    changed: dict[str, object],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, new = tmp_path / "site.zip", tmp_path / "new" / "controller.toml"
    assert back_up(site, out) == 0
    rewrite(out, **changed)
    assert restore(out, new) == 1
    assert words in capsys.readouterr().err
    assert not new.parent.exists()


def test_backup_restore_of_another_file_is_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_bytes(b"no archive")
    assert restore(tmp_path / "file", tmp_path / "new.toml") == 1
    assert "not one that `local-controller backup` has made" in capsys.readouterr().err
    assert restore(tmp_path / "missing", tmp_path / "new.toml") == 2


def test_site_files_elsewhere_are_named_and_links_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    outside = tmp_path / "outside.pem"
    outside.write_text("-----BEGIN CERTIFICATE-----")
    (folder / "link.pem").symlink_to(outside)
    (folder / "server.pem").write_text("-----BEGIN EC PRIVATE KEY-----")
    (folder / "controller.toml").write_text(
        f'[listen]\ncertificate = "{outside}"\nkey = "link.pem"\nclient_ca = "server.pem"\n'
    )
    found = find_site_files(folder / "controller.toml")
    assert [(each.name, each.is_secret) for each in found.inside] == [
        ("controller.toml", False),
        ("server.pem", True),
    ]
    assert found.outside == (str(folder / "link.pem"), str(outside))


def test_backup_record_with_secret_member_is_marked_secret() -> None:
    words = ("hash", "password", "secret", "private")
    unmarked = {
        rule.kind
        for type_, rule in RULES.items()
        if type_ is not EvidenceHead  # the digest of a public chain
        for field in msgspec.structs.fields(type_)
        if not rule.secret and (field.name == "key" or any(word in field.name for word in words))
    }
    assert unmarked == set()
