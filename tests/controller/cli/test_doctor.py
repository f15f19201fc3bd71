"""`doctor`: findings with remedies, and its exit status."""

from __future__ import annotations

import os
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
import trio
from msgspec.structs import replace

from controller.cli import doctor
from controller.cli.doctor_checks import (
    DoctorFinding,
    ServiceUser,
    check_backends,
    check_certificates,
    check_clock,
    check_devices,
    check_files,
    check_firmware,
    check_over_commitment,
    check_running,
    check_store_rights,
    installed_time_daemon,
    running_time_daemon,
)
from controller.cli.doctor_disk import check_disk
from controller.cli.main import main
from controller.config.loader import read_config
from controller.config.schema import (
    Config,
    DimmingConfig,
    DimmingContactConfig,
    DimmingModuleConfig,
    DimmingSourceConfig,
)
from controller.model.expiry import DAY_S, Expiry
from controller.model.journal import BootStored
from controller.store.state_store import StateStore
from controller.web.status_model import BackendStatus
from tests.controller.cli.command_line import CONFIG, write_config
from tests.controller.web.examples import STATUS
from tests.drivers.gpio_kernel import GpioKernel


def configured(folder: Path, text: str = CONFIG) -> Config:
    return read_config(write_config(folder, text))[0]


def levels(findings: list[DoctorFinding]) -> list[str]:
    assert all((each.level == "ok") == (not each.remedy) for each in findings), "a remedy for each problem"
    return [each.level for each in findings]


@pytest.mark.parametrize(
    ("synchronised", "daemon", "level"),
    [(True, "chrony", "ok"), (False, "chrony", "error"), (False, "", "error")],
)
def test_doctor_clock_not_synchronised_is_error(daemon: str, level: str, *, synchronised: bool) -> None:
    assert levels(list(check_clock(synchronised=synchronised, daemon=daemon))) == [level]


@pytest.mark.parametrize(
    ("program", "remedy"),
    [
        ("usr/sbin/chronyd", "sudo systemctl enable --now chrony;"),
        ("usr/lib/systemd/systemd-timesyncd", "sudo systemctl enable --now systemd-timesyncd;"),
        ("usr/sbin/other", "sudo apt install chrony;"),
    ],
)
def test_doctor_time_daemon_stopped_remedy_starts_it(tmp_path: Path, program: str, remedy: str) -> None:
    (tmp_path / program).parent.mkdir(parents=True)
    (tmp_path / program).touch()

    [finding] = check_clock(synchronised=False, daemon="", installed=installed_time_daemon(tmp_path))

    assert finding.remedy.startswith(remedy)


@pytest.mark.parametrize(
    ("process", "unit"),
    [
        ("chronyd", "chrony"),
        ("systemd-timesyn", "systemd-timesyncd"),
        ("ntpd", "ntpsec"),
        ("systemd-network", ""),
    ],
)
def test_doctor_running_time_daemon_has_name_of_its_unit(tmp_path: Path, process: str, unit: str) -> None:
    (tmp_path / "417").mkdir()
    (tmp_path / "417" / "comm").write_text(f"{process}\n")

    assert running_time_daemon(tmp_path) == unit


METER = """
[[meter]]
id = "grid"
driver = "janitza-umg604"
transport = "tcp"
host = "127.0.0.1"
"""


def with_device(folder: Path, device: str) -> Config:
    config = configured(folder, CONFIG.replace("limit_a = 63", 'limit_a = 63\nmeter = "grid"') + METER)
    [meter] = config.meter
    return replace(config, meter=(replace(meter, device=device),))


@pytest.mark.parametrize(
    ("mode", "uid", "gid", "level"),
    [
        (0o660, 0, 20, "ok"),
        (0o660, 0, 21, "error"),
        (0o660, 1000, 21, "ok"),
        (0o666, 0, 21, "ok"),
    ],
    ids=["in its group", "in another group", "its owner", "open to all"],
)
def test_doctor_device_rights_are_those_of_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, uid: int, gid: int, level: str
) -> None:
    config = with_device(tmp_path, "/dev/ttyUSB0")
    found = os.stat_result((stat.S_IFCHR | mode, 1, 1, 1, uid, 20, 0, 0, 0, 0))
    monkeypatch.setattr(Path, "stat", lambda self, **_: found)
    user = ServiceUser("local-controller", 1000, frozenset({gid}))
    assert levels(list(check_devices(config, user))) == [level]


@pytest.mark.parametrize(("mode", "gid"), [(0o600, 20), (0o660, 0)], ids=["closed to its group", "of root"])
def test_doctor_device_without_group_of_its_own_names_udev(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, gid: int
) -> None:
    config = with_device(tmp_path, "/dev/gpiochip0")
    found = os.stat_result((stat.S_IFCHR | mode, 1, 1, 1, 0, gid, 0, 0, 0, 0))
    monkeypatch.setattr(Path, "stat", lambda self, **_: found)
    [finding] = check_devices(config, ServiceUser("local-controller", 1000, frozenset({1000})))
    assert "usermod" not in finding.remedy  # the group root would give the service far more
    assert "udevadm trigger --action=add /dev/gpiochip0" in finding.remedy


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Yield a new directory that everybody may enter, unlike `tmp_path`."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_doctor_file_that_service_may_not_read_is_error(open_folder: Path) -> None:
    key = open_folder / "keys" / "lc.pem"
    key.parent.mkdir(mode=0o755)
    key.touch(mode=0o600)
    nobody = ServiceUser("lc", 65534, frozenset({65534}))
    [finding] = check_files([key], nobody)
    assert (finding.level, finding.text) == ("error", f"{key}: lc may not read it")
    assert finding.remedy == f"sudo chgrp lc {key} && sudo chmod g+rX {key}"
    key.chmod(0o644)
    assert levels(list(check_files([key], nobody))) == ["ok"]
    key.parent.chmod(0o700)
    [finding] = check_files([key, key.parent / "other.pem"], nobody)
    assert finding.text == f"{key.parent}: lc may not enter it"


def test_doctor_store_that_service_may_not_write_is_error(tmp_path: Path) -> None:
    root = ServiceUser("root", 0, frozenset())
    assert list(check_store_rights(tmp_path, root, None)) == []
    assert list(check_store_rights(tmp_path, root, (tmp_path.parent,))) == []
    [finding] = check_store_rights(tmp_path, root, (Path("/var/lib/local-controller"),))
    assert f"ReadWritePaths={tmp_path}" in finding.remedy
    tmp_path.chmod(0o555)
    [finding] = check_store_rights(tmp_path, ServiceUser("lc", 65534, frozenset({65534})), None)
    assert finding.text == f"{tmp_path}: lc may not write there"


def test_doctor_missing_device_is_error(tmp_path: Path) -> None:
    config = with_device(tmp_path, str(tmp_path / "ttyUSB0"))
    [finding] = check_devices(config, ServiceUser("x", 0, frozenset()))
    assert finding.level == "error"
    assert "No such file" in finding.text


def test_doctor_gpio_line_of_another_program_is_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = GpioKernel(monkeypatch, tmp_path)
    chip = kernel.chip
    dimming = DimmingConfig(
        source=(DimmingSourceConfig(id="control-box", kind="contact", module="io"),),
        contact=(DimmingContactConfig(name="K1", source="control-box", input=17, limit_w=4200),),
        module=(DimmingModuleConfig(id="io", transport="gpio", device=chip),),
    )
    config = replace(configured(tmp_path), dimming=dimming)
    root = ServiceUser("root", 0, frozenset())
    [finding] = check_devices(config, root)
    assert (finding.text, finding.remedy) == (f"{chip} is no device", "write the name of a GPIO chip")
    monkeypatch.setattr(stat, "S_ISCHR", lambda _: True)
    assert levels(list(check_devices(config, root))) == ["ok"]
    kernel.used = {17: b"spi0 CS1"}
    [finding] = check_devices(config, root)
    assert finding.text == f"line 17 of {chip} is used by 'spi0 CS1'"
    assert finding.remedy.startswith("stop it, or wire the contact to another line")
    Path(chip).unlink()
    [finding] = check_devices(config, root)
    assert finding.remedy == "connect the chip's adapter, or write a chip that `gpioinfo` lists"


def test_doctor_certificate_that_is_not_valid_yet_is_error() -> None:
    end = Expiry(name="listen.certificate", not_after=400 * DAY_S, not_before=DAY_S)
    [finding] = check_certificates([end], 0.0)
    assert (finding.level, finding.text) == (
        "error",
        "listen.certificate is not valid before 1970-01-02T00:00:00+00:00: peers reject it until then",
    )
    [later] = check_certificates([end], DAY_S)
    assert later.level == "ok"


@pytest.mark.parametrize(("days", "level"), [(31, "ok"), (29, "warning"), (-1, "error")])
def test_doctor_certificate_near_end_is_reported(days: int, level: str) -> None:
    ends = [Expiry(name="listen.certificate", not_after=days * DAY_S)]
    assert levels(list(check_certificates(ends, 0.0))) == [level]


@pytest.mark.parametrize(("free_percent", "level"), [(50, "ok"), (9, "warning")])
def test_doctor_full_disk_is_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_percent: int, level: str
) -> None:
    total = 10 << 30
    monkeypatch.setattr("shutil.disk_usage", lambda _: DiskUsage(total, total // 100 * free_percent))
    assert levels(list(check_disk(tmp_path))) == [level]


class DiskUsage:
    """Usage of a disk as `shutil.disk_usage` returns it."""

    def __init__(self, total: int, free: int) -> None:
        self.total, self.free = total, free


def test_doctor_damaged_store_beside_is_warning(tmp_path: Path) -> None:
    (tmp_path / "state.sqlite.corrupt-20261127").touch()
    assert "damaged" in list(check_disk(tmp_path))[-1].text


@pytest.mark.parametrize(("base_a", "level"), [(40, "ok"), (60, "warning")])
def test_doctor_fallbacks_above_limit_are_warning(tmp_path: Path, base_a: float, level: str) -> None:
    config = configured(tmp_path)
    [circuit] = config.circuit
    config = replace(config, circuit=(replace(circuit, base_load_a=float(base_a)),))
    [finding] = check_over_commitment(config)
    assert finding.level == level
    assert "32 A if all charge, 6 A without the controller" in finding.text


def test_doctor_running_controller_reports_problems() -> None:
    healthy = replace(STATUS, healthy=True, configuration_problem="")
    assert levels(list(check_running(healthy, "")))[0] == "ok"
    assert levels(list(check_running(replace(healthy, healthy=False), "")))[0] == "error"
    assert "error" in levels(list(check_running(replace(healthy, configuration_problem="x"), "")))
    assert levels(list(check_running(None, "no controller answers"))) == ["warning"]


def test_doctor_backend_with_old_or_rejected_messages_is_warning(tmp_path: Path) -> None:
    config = configured(tmp_path)
    backend = BackendStatus(
        id="cpo", links={"cpo": 1}, waiting=3, oldest_s=7200, dropped_total=0, set_aside=2
    )
    found = list(check_backends(config, replace(STATUS, backends=(backend,))))
    assert levels(found) == ["warning", "warning", "ok"]


async def test_doctor_backend_that_does_not_answer_is_error(tmp_path: Path) -> None:
    config = configured(tmp_path)
    assert levels(list(check_backends(config, None))) == ["error"]
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    [backend] = config.backend
    answering = replace(config, backend=(replace(backend, url=f"ws://127.0.0.1:{port}/x"),))
    assert levels(list(check_backends(answering, None))) == ["ok"]
    await listeners[0].aclose()


def test_doctor_backend_with_unknown_certificate_is_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = ssl.SSLCertVerificationError(1, "failed")
    error.verify_message = "self-signed certificate"

    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("socket.create_connection", refuse)
    [finding] = check_backends(configured(tmp_path), None)
    assert "self-signed certificate" in finding.text
    assert "ca" in finding.remedy


def test_doctor_firmware_with_quirk_of_own_is_warning() -> None:
    boots = [
        BootStored("CS01", "Wall Box Chargers", "PPR1", "5.17.1"),
        BootStored("CS02", "Wall Box Chargers", "PPR1", "6.0.1"),
    ]
    [finding] = check_firmware(boots)
    assert "station CS01: firmware 5.17.1" in finding.text


def test_doctor_command_prints_json_and_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_config(tmp_path)
    StateStore(tmp_path).close()
    monkeypatch.setattr(doctor, "is_synchronised", lambda: True)
    monkeypatch.setattr(doctor, "check_backends", lambda *_: iter(()))
    assert main(["doctor", "--json", "-c", str(path)]) == 0
    found = msgspec.json.decode(capsys.readouterr().out, type=list[DoctorFinding])
    assert {"clock", "configuration", "disk", "over-commitment", "controller", "store"} <= {
        each.check for each in found
    }
    monkeypatch.setattr(doctor, "is_synchronised", lambda: False)
    assert main(["doctor", "-c", str(path)]) == 1
    assert "remedy: " in capsys.readouterr().out
    path.write_text("[site")
    assert main(["doctor", "-c", str(path)]) == 2
    assert main(["doctor", "-c", str(tmp_path / "missing")]) == 2
    [*_, finding] = doctor.diagnose(tmp_path / "missing")
    assert finding.text == f"{tmp_path / 'missing'}: does not exist"
    assert finding.remedy == "make it with `local-controller setup`, or name another file with -c"
    (tmp_path / "latin").write_bytes(b"# \xe4")
    [*_, finding] = doctor.diagnose(tmp_path / "latin")
    assert finding.remedy == "save the file as UTF-8"
