"""`support-bundle`: no secret, no driver identity and no address leaves the site; shown before written."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import msgspec
import pytest

from controller.access.access_records import UserStored
from controller.cli import support_bundle
from controller.cli.main import main
from controller.cli.redaction import Redactor, host_of
from controller.store.credential_records import CredentialStored
from controller.store.state_store import StateStore
from tests.controller.web.examples import STATUS

CARD, LABEL = "04A2B3C4D5E680", "Erika Mustermann"
CANARIES = (
    CARD,
    LABEL,
    "s3cret-pass",
    "user:pass",
    "csms.example",
    "192.0.2.20",
    "canary-hash",
    "2001:db8::7",
)

CONFIG = """
[site]
id = "lc"
[store]
directory = "."
[[backend]]
id = "cpo"
url = "wss://user:pass@csms.example/ocpp/{{station}}"
password = "s3cret-pass"
[[circuit]]
id = "grid"
limit_a = 63
[[meter]]
id = "grid"
host = "192.0.2.20"
[[station]]
id = "CS01"
circuit = "grid"
[local_csms]
cards_file = "cards.csv"
[[card]]
token = "{card}"
label = "{label}"
"""
FILED_CARD = "04FFEE11223344"

LOG = f"""
2026-11-27T04:00:00 local-controller[1]: connected station=CS01 peer=192.0.2.20:40512
2026-11-27T04:00:01 local-controller[1]: card accepted card={CARD} label="{LABEL}"
2026-11-27T04:00:02 lc[1]: link lost url=wss://user:pass@csms.example/ocpp/CS01 password=s3cret-pass
2026-11-27T04:00:03 local-controller[1]: peer 2001:db8::7 rejected 04FFEE11223344 after 5.0 s at 04:00:03
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "controller.toml"
    path.write_text(CONFIG.format(card=CARD, label=LABEL))
    (tmp_path / "cards.csv").write_text(f"token,label\n{FILED_CARD},\n")
    store = StateStore(tmp_path)
    store.persist_now([CredentialStored("CS01", "owner", "canary-hash")])
    store.close()
    monkeypatch.setattr(support_bundle, "_log_lines", lambda: LOG)
    return path


def test_support_bundle_contains_no_canary(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bundle.zip"
    assert main(["support-bundle", "-c", str(site), "--out", str(out), "--yes"]) == 0
    shown = capsys.readouterr().out
    with zipfile.ZipFile(out) as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist()}
    assert {"versions.txt", "configuration.json", "doctor.json", "store.txt", "log.txt"} <= set(texts)
    for text in (*texts.values(), shown):
        assert [canary for canary in CANARIES if canary in text] == []
    assert all(text.rstrip() in shown for text in texts.values()), "everything is shown before it is written"
    assert '"limit_a": 63' in texts["configuration.json"]
    assert "1  credential" in texts["store.txt"]
    assert "connected station=CS01" in texts["log.txt"]
    assert "at 04:00:03" in texts["log.txt"]
    assert out.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(("answer", "written"), [("y\n", True), ("\n", False), ("", False)])
def test_support_bundle_is_written_after_confirmation_only(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, *, written: bool
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    out = tmp_path / "bundle.zip"
    assert main(["support-bundle", "-c", str(site), "--out", str(out)]) == (0 if written else 1)
    assert out.exists() is written


def test_support_bundle_without_configuration_has_rest(tmp_path: Path) -> None:
    members = support_bundle.collect_members(tmp_path / "missing.toml")
    assert "versions.txt" in members
    assert ".toml: does not exist" in members["doctor.json"]


def test_support_bundle_redactor_keeps_status_useful() -> None:
    redacted = Redactor(key=b"1").redact_struct(STATUS)
    assert isinstance(redacted, dict)
    assert redacted["circuits"][0]["id"] == STATUS.circuits[0].id
    assert redacted["evses"][0]["station"] == STATUS.evses[0].station
    assert msgspec.json.encode(redacted)


def test_redactor_pseudonyms_are_equal_in_one_bundle_only() -> None:
    first, second = Redactor(), Redactor()
    assert first.redact_text("peer=192.0.2.1") == first.redact_text("peer=192.0.2.1")
    assert first.redact_text("peer=192.0.2.1") != second.redact_text("peer=192.0.2.1")
    assert first.redact_text("on 127.0.0.1 at 12:30:45") == "on 127.0.0.1 at 12:30:45"


def test_redactor_removes_keys_in_any_form() -> None:
    pem = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n-----END PRIVATE KEY-----"
    redacted = Redactor(key=b"1").redact_text(f"{pem} Authorization: Basic bGM6czNjcmV0 {'A1' * 20}")
    assert "MIGH" not in redacted
    assert "A1A1" not in redacted
    assert "Basic bGM6" not in redacted


def test_redactor_replaces_address_of_a_bus_in_its_name() -> None:
    redactor = Redactor(key=b"1", hosts=frozenset({"meter.site.example"}))
    buses = [{"name": "192.0.2.20:502"}, {"name": "meter.site.example:502"}, {"name": "/dev/ttyUSB0"}]
    names = [bus["name"] for bus in redactor.redact_data(buses)]  # type: ignore[attr-defined]
    assert names[0].startswith("address-")
    assert names[1].startswith("host-")
    assert names[2] == "/dev/ttyUSB0"


def test_redactor_keeps_paths_of_the_system() -> None:
    redactor = Redactor(key=b"1")
    device = "/dev/serial/by-id/usb-FTDI_FT232R_USB_UART_A10LQK7K-if00-port0"
    missing = "AssertPathExists=/etc/local-controller/controller.toml was not met"
    for path in (device, "/etc/local-controller/controller.toml:27:", missing):
        assert redactor.redact_text(f"cannot open {path}") == f"cannot open {path}"
    for secret in ("/etc/" + "A1" * 40, "/home/anna/" + "a" * 30, "AbCd/" * 9, "LoadCredential=" + "A1" * 20):
        assert secret not in redactor.redact_text(f"token {secret} end")


VALID = """
[site]
id = "lc"
[store]
directory = "state"
[[backend]]
id = "cpo"
url = "wss://csms.example/ocpp/{station}"
[mqtt]
host = "broker.example"
username = "mqtt-user"
[web]
names = ["gateway.example"]
[[circuit]]
id = "grid"
limit_a = 63
[[station]]
id = "CS01"
label = "Parking of Frau Muster"
circuit = "grid"
[local_csms]
cards_file = "cards.csv"
[[drivers]]
name = "Erwin Lindemann"
"""
PLANTED_LOG = """
login accepted user=hildegard peer=198.51.100.7:4711
command done command=station.adopt actor=hildegard subject="station=CS01 label=Parking of Frau Muster"
Traceback: AuthorizationCache(id_token={'idToken': '04C0FFEE', 'type': 'ISO14443'})
frame [2,"1","Authorize",{"idTag":"ABBA0815CAFE77"}] of 04c0ffee5566aa
backend cpo: csms.example port 443 cannot be reached; broker.example answers
Authorization: Basic bGM6czNjcmV0
Authorization: Bearer lct_7Q2kd93jf
vehicle connected evccid=98:ED:5C:00:11:22 vin=WVWZZZ1JZXW000001 contract DE-8AA-CA2B3C4D5-E
car WVWZZZ1JZXW000002 and 98:ed:5c:00:11:33, card 11223344556677
"""
PLANTED = (
    *("csms.example", "broker.example", "gateway.example", "mqtt-user", "Muster", "Lindemann", "hildegard"),
    *("198.51.100.7", "04C0FFEE", "04c0ffee5566aa", "ABBA0815CAFE77", "bGM6czNjcmV0", "lct_7Q2kd93jf"),
    *("98:ED", "98:ed", "WVWZZZ", "DE-8AA", "11223344556677", "Otto Normal", "04DD00FF"),
)


def test_support_bundle_of_valid_site_contains_no_canary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(address: tuple[str, int], *_: object, **__: object) -> None:
        raise OSError(f"cannot reach {address[0]}")

    monkeypatch.setattr("controller.cli.doctor_checks.socket.create_connection", refuse)
    monkeypatch.setattr(
        support_bundle, "_log_lines", lambda: PLANTED_LOG + "04DD00FF of Otto Normal: local\n"
    )
    config = tmp_path / "controller.toml"
    config.write_text(VALID.replace('[[drivers]]\nname = "Erwin Lindemann"\n', ""))
    (tmp_path / "cards.csv").write_text("token;type;label\n04DD00FF;Local;Otto Normal\n")
    (tmp_path / "cards.csv").chmod(0o640)
    store = StateStore(tmp_path / "state")
    store.persist_now([UserStored("hildegard", "operator", "argon2-hash")])
    store.close()
    members = support_bundle.collect_members(config)
    assert "port 443 cannot be reached" in members["doctor.json"]
    assert members["log.txt"].endswith(": local\n"), "the type of a card is nobody's identity"
    for name, text in members.items():
        assert [canary for canary in PLANTED if canary in text] == [], name
    broken = VALID.replace("csms.example", "[csms.example")  # no host, and no reason to fail
    config.write_text(broken)
    assert "csms.example" not in "".join(support_bundle.collect_members(config).values())
    config.write_text(VALID)  # a table that the configuration does not have
    assert "Lindemann" not in support_bundle.collect_members(config)["configuration.json"]
    capsys.readouterr()


def test_support_bundle_of_broken_file_redacts_what_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "controller.toml"
    config.write_text(
        '[[card]]\ntoken = "Z-991"\nlabel = \'Otto Normal\'\n[[meter]]\nhost = "m.lan"\nx = = 1\n'
    )
    monkeypatch.setattr(support_bundle, "_log_lines", lambda: "Otto Normal with Z-991 at m.lan port 502")
    log = support_bundle.collect_members(config)["log.txt"]
    assert [each for each in ("Otto", "Z-991", "m.lan") if each in log] == []
    assert log.endswith("port 502")


def test_redactor_keeps_what_support_needs() -> None:
    line = (
        "limit decided station=CS01 evse=1 limit=16A reason=6 A kept free for it at 2026-11-27T16:19:22+0000"
    )
    assert Redactor(frozenset({"an"}), key=b"1").redact_text(line) == line


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("wss://user:pass@csms.example:443/ocpp/{station}", "csms.example"),
        ("wss://[2001:db8::7]:443/x", "2001:db8::7"),
        ("2001:db8::7", "2001:db8::7"),
        ("broker.lan:1883", "broker.lan"),
        ("wss://[csms.example/x", "csms.example"),
    ],
)
def test_redactor_host_of_url_is_found_in_any_form(url: str, host: str) -> None:
    assert host_of(url) == host
