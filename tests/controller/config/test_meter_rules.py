"""Meters of a configuration: the user's models beside it, and the TLS files of a meter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.config.loader import check_config
from drivers.meter_model import set_user_models

SITE = """
[site]
id = "depot"
[[backend]]
id = "cpo"
url = "wss://cpo.example/{station}"
[[circuit]]
id = "grid"
limit_a = 100
base_load_a = 20
meter = "grid"
[[station]]
id = "CS01"
circuit = "grid"
owner = "cpo"
[[meter]]
id = "grid"
"""
MODEL = """
vendor = "Own"
model = "Meter"
phases = 1
transports = ["tcp"]
current_sign = "signed"
sources = { sheet = "data sheet" }
register = [{ quantity = "current_l1", function = 3, address = 0, type = "int16", sources = ["sheet"] }]
"""
PEM = Path(__file__).parents[2] / "drivers" / "modbus" / "pem"


@pytest.fixture(autouse=True)
def without_user_models() -> Iterator[None]:
    yield
    set_user_models({})


def errors_of(meter: str, folder: Path) -> list[str]:
    return [str(error) for error in check_config(SITE + meter, "c.toml", folder)[1]]


def test_meter_rules_driver_may_be_model_file_beside_configuration(tmp_path: Path) -> None:
    meter = 'driver = "own-meter"\ntransport = "tcp"\nhost = "h"\n'
    (unknown,) = errors_of(meter, tmp_path)
    assert '"own-meter" does not exist; `local-controller meter list`' in unknown
    (tmp_path / "meters").mkdir()
    (tmp_path / "meters" / "own-meter.toml").write_text(MODEL)
    assert errors_of(meter, tmp_path) == []
    (tmp_path / "meters" / "own-meter.toml").write_text(MODEL.replace("int16", "int17"))
    (broken,) = errors_of(meter, tmp_path)
    assert 'own-meter.toml:8: register[0].type: cannot be "int17"; did you mean "int16"?' in broken


def test_meter_rules_driver_may_be_path_of_model_file(tmp_path: Path) -> None:
    meter = 'driver = "file:maps/own.toml"\ntransport = "tcp"\nhost = "h"\n'
    (missing,) = errors_of(meter, tmp_path)
    assert f"the file {tmp_path / 'maps/own.toml'} does not exist" in missing
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "own.toml").write_text(MODEL)
    assert errors_of(meter, tmp_path) == []
    (tmp_path / "maps" / "own.toml").write_bytes(b"\xff\xfe")
    (broken,) = errors_of(meter, tmp_path)
    assert "own.toml:1: is not UTF-8 text" in broken


@pytest.mark.parametrize(
    ("certificate", "text"),
    [
        ("client-ReadOnlySunSpec", ""),
        ("client-NO-ROLE", "has no role"),
        ("c-ia5", "an IA5String instead of a UTF8String"),
        ("c-two-strings", "more or less than one string"),
        ("c-expired", "expired on"),
    ],
)
def test_certificate_of_meter_is_checked(tmp_path: Path, certificate: str, text: str) -> None:
    file = tmp_path / "client.pem"
    file.write_bytes((PEM / f"{certificate}.pem").read_bytes())
    file.chmod(0o600)
    meter = f'driver = "sunspec"\ntransport = "tls"\nhost = "h"\nca = "{PEM}/device-bundle.pem"\n'
    errors = errors_of(f'{meter}certificate = "client.pem"\n', tmp_path)
    assert [text in error for error in errors] == [True] * (1 if text else 0)


def test_meter_rules_certificate_and_key_of_meter_must_belong_together(tmp_path: Path) -> None:
    certificate = (PEM / "client-ReadOnlySunSpec.pem").read_text()
    other = (PEM / "c-new.pem").read_text()
    (tmp_path / "client.pem").write_text(certificate)
    (tmp_path / "client.key").write_text(other[other.index("-----BEGIN PRIVATE") :])
    for name in ("client.pem", "client.key"):
        (tmp_path / name).chmod(0o600)
    meter = f'driver = "sunspec"\ntransport = "tls"\nhost = "h"\nca = "{PEM}/device-bundle.pem"\n'
    (error,) = errors_of(f'{meter}certificate = "client.pem"\nkey = "client.key"\n', tmp_path)
    assert "does not belong to" in error


CARS = (
    SITE.replace("base_load_a = 20\n", "")
    + """driver = "virtual"
transport = "virtual"
"""
)


def errors_of_cars(keys: str, more: str = "") -> list[str]:
    return [str(error) for error in check_config(CARS + keys + more, "c.toml")[1]]


def test_meter_of_stations_is_accepted() -> None:
    assert errors_of_cars('stations = ["CS01"]\nstale_after_s = 120\n') == []


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ('stations = ["CS1"]\nstale_after_s = 120\n', 'station "CS1" does not exist'),
        ('stations = ["CS01"]\n', "5 s are shorter than the interval in which stations report"),
        ('stations = ["CS01"]\nstale_after_s = 120\nplus = ["grid"]\n', "stands beside stations"),
        ("", '"virtual" needs plus or stations'),
    ],
)
def test_meter_of_stations_with_error_is_rejected(keys: str, text: str) -> None:
    assert any(text in error for error in errors_of_cars(keys)), errors_of_cars(keys)


def test_meter_of_stations_that_lacks_one_is_rejected() -> None:
    more = '[[circuit]]\nid = "row"\nparent = "grid"\nlimit_a = 63\n' + (
        '[[station]]\nid = "CS02"\ncircuit = "row"\nowner = "cpo"\n'
    )
    (error,) = errors_of_cars('stations = ["CS01"]\nstale_after_s = 120\n', more)
    assert 'does not show CS02 of circuit "grid"; name every station at and below the circuit' in error


def test_backup_made_of_stations_must_show_all_of_them() -> None:
    keys = 'plus = ["main"]\nbackup = "cars"\n'
    main = '[[meter]]\nid = "main"\ndriver = "janitza-umg96"\ntransport = "tcp"\nhost = "h"\n'
    cars = '[[meter]]\nid = "cars"\ndriver = "virtual"\ntransport = "virtual"\nstale_after_s = 120\n'
    assert errors_of_cars(keys, main + cars + 'stations = ["CS01"]\n') == []
    other = '[[station]]\nid = "CS02"\ncircuit = "grid"\nowner = "cpo"\n'
    (error,) = errors_of_cars(keys, other + main + cars + 'stations = ["CS01"]\n')
    assert 'does not show CS02 of circuit "grid"' in error


def test_backup_of_real_meter_is_rejected(tmp_path: Path) -> None:
    meter = 'driver = "janitza-umg96"\ntransport = "tcp"\nhost = "h"\nbackup = "grid"\n'
    assert any("is for virtual meters" in error for error in errors_of(meter, tmp_path))
