"""Files of the Debian package: units, generator of the socket's address, locked components, version."""

from __future__ import annotations

import configparser
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from controller.config.manual_page import render_manual_page
from controller.config.schema import ListenConfig, WebConfig
from controller.services.machine.clock_state import STATE_FILE

ROOT = Path(__file__).parents[2]
GENERATOR = ROOT / "systemd" / "local-controller-generator"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def generate(tmp_path: Path, text: str | None, unit: str = "local-controller.socket") -> str | None:
    """Run the generator; return the text of a unit's drop-in, None without one."""
    config = tmp_path / "controller.toml"
    if text is not None:
        config.write_text(text)
    arguments = [str(tmp_path / name) for name in ("normal", "early", "late")]
    subprocess.run([sys.executable, "-IS", GENERATOR, *arguments, config], check=True)
    drop_in = tmp_path / "normal" / f"{unit}.d" / "listen.conf"
    return drop_in.read_text() if drop_in.exists() else None


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("", "0.0.0.0:8887"),
        ("[listen]\nport = 443", "0.0.0.0:443"),
        ('[listen]\nhost = "192.0.2.1"', "192.0.2.1:8887"),
        ('[listen]\nhost = "::"\nport = 9000', "[::]:9000"),
        ("\ufeff[listen]\nport = 80", "0.0.0.0:80"),
    ],
)
def test_package_files_generator_writes_address_of_configuration(
    tmp_path: Path, listen: str, address: str
) -> None:
    assert generate(tmp_path, listen) == f"[Socket]\nListenStream=\nListenStream={address}\n"


@pytest.mark.parametrize("text", [None, "[listen", 'listen = "x"', '[listen]\nport = "x"'])
def test_generator_without_valid_configuration_writes_nothing(tmp_path: Path, text: str | None) -> None:
    assert generate(tmp_path, text) is None


@pytest.mark.parametrize("text", ['[listen]\nhost = "localhost"', "[listen]\nport = 0"])
def test_package_files_generator_disables_unit_for_other_addresses(tmp_path: Path, text: str) -> None:
    assert generate(tmp_path, text) == "[Unit]\nConditionPathExists=!/\n"


@pytest.mark.parametrize(
    ("web", "drop_in"),
    [
        ("", "[Unit]\nConditionPathExists=!/\n"),
        ("[web]", "[Socket]\nListenStream=\nListenStream=127.0.0.1:8080\n"),
        ('[web]\nhost = "0.0.0.0"\nport = 443', "[Socket]\nListenStream=\nListenStream=0.0.0.0:443\n"),
        ('[web]\nhost = "lc.lan"', "[Unit]\nConditionPathExists=!/\n"),
    ],
)
def test_package_files_generator_writes_address_of_page(tmp_path: Path, web: str, drop_in: str) -> None:
    assert generate(tmp_path, web, "local-controller-web.socket") == drop_in


def test_package_files_service_may_make_callbacks_of_openssl() -> None:
    lines = (ROOT / "systemd" / "local-controller.service").read_text().splitlines()
    assert "MemoryDenyWriteExecute=yes" not in lines  # the daemon with [eebus] would end at its start


def test_package_files_service_allows_usb_adapters_by_number() -> None:
    lines = (ROOT / "systemd" / "local-controller.service").read_text().splitlines()
    assert {"DeviceAllow=char-188 rw", "DeviceAllow=char-166 rw"} <= set(lines)
    assert not [
        line for line in lines if "ttyUSB rw" in line or "ttyACM rw" in line
    ]  # skipped without driver


def test_package_files_gpio_chips_are_allowed_to_the_service() -> None:
    # The number of the driver is not fixed, so that the unit names it; the kernel has it from its start.
    for unit in ("local-controller", "local-controller-setup"):
        lines = (ROOT / "systemd" / f"{unit}.service").read_text().splitlines()
        assert "DeviceAllow=char-gpiochip rw" in lines
    rules = (ROOT / "debian" / "local-controller.udev").read_text()
    assert 'SUBSYSTEM=="gpio", KERNEL=="gpiochip*", GROUP="gpio", MODE="0660"' in rules
    users = (ROOT / "debian" / "local-controller.sysusers").read_text().splitlines()
    assert {"g gpio - -", "m local-controller gpio"} <= set(users)


def test_package_files_setup_unit_has_the_sandbox_of_the_service() -> None:
    def sandbox(name: str) -> list[str]:
        text = (ROOT / "systemd" / name).read_text()
        lines = text[text.index("User=") : text.index("SystemCallErrorNumber")].splitlines()
        return [line for line in lines if line and not line.startswith("#")]

    assert sandbox("local-controller-setup.service") == sandbox("local-controller.service")


def test_package_files_socket_units_listen_where_schema_does() -> None:
    page = (ROOT / "systemd" / "local-controller-web.socket").read_text()
    web = WebConfig()
    assert f"ListenStream={web.host}:{web.port}\n" in page
    assert "FileDescriptorName=web\n" in page
    unit = (ROOT / "systemd" / "local-controller.socket").read_text()
    listen = ListenConfig()
    assert f"ListenStream={listen.host}:{listen.port}\n" in unit
    assert "FileDescriptorName=stations\n" in unit


def test_package_files_service_units_have_no_capability_and_clock_by_file() -> None:
    names = (
        "local-controller",
        "local-controller-setup",
        "local-controller-chrony",
        "local-controller-clock",
    )
    for name in names:
        lines = (ROOT / "systemd" / f"{name}.service").read_text().splitlines()
        assert "CapabilityBoundingSet=" in lines
        assert "NoNewPrivileges=yes" in lines
        assert "PrivateUsers=yes" in lines
    assert f"RuntimeDirectory={STATE_FILE.parent.name}" in lines


def test_package_files_drop_in_for_newer_systemd_keeps_reload_by_signal() -> None:
    parser = configparser.ConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(ROOT / "systemd" / "systemd-254.conf")
    service = dict(parser["Service"])
    assert service["Type"] == "notify-reload"
    unit = (ROOT / "systemd" / "local-controller.service").read_text()
    check, signal = re.findall(r"^ExecReload=(.*)$", unit, re.M)
    assert service["ExecReload"] == check  # systemd sends the signal itself
    assert signal == "/bin/kill -HUP $MAINPID"
    start = re.search(r"^ExecStart=(\S+) run (-c \S+)", unit, re.M)
    assert start is not None
    assert check == f"{start[1]} check {start[2]}"
    assert set(service) == {"Type", "ExecReload", "RestartSteps", "RestartMaxDelaySec"}


def test_package_files_manual_pages_are_installed_and_name_each_other() -> None:
    pages = (ROOT / "debian" / "local-controller.manpages").read_text().split()
    written = (ROOT / "debian" / "generate").read_text()
    assert pages == [
        "debian/generated/local-controller.1",
        "debian/generated/local-controller.toml.5",
    ]
    assert all(f'"$out/{Path(page).name}"' in written for page in pages)
    command = (ROOT / "debian" / "manual.include").read_text().partition("[see also]")[2]
    assert ".BR local\\-controller.toml (5)" in command
    assert ".BR local\\-controller (1)" in render_manual_page("1").partition(".SH SEE ALSO")[2]


def test_package_files_service_restarts_for_ever_in_steps_if_possible() -> None:
    unit = (ROOT / "systemd" / "local-controller.service").read_text().splitlines()
    # A limit of starts would fail the socket unit as well: the stations' port would stay closed.
    assert {"StartLimitIntervalSec=0", "Restart=always", "RestartSec=2"} <= set(unit)
    assert not [
        line for line in unit if line.startswith(("RestartSteps", "RestartMaxDelaySec", "StartLimitBurst"))
    ]
    newer = (ROOT / "systemd" / "systemd-254.conf").read_text().splitlines()
    assert {"RestartSteps=6", "RestartMaxDelaySec=60"} <= set(newer)
    assert "systemd 252 (Debian 12) has no steps" in (ROOT / "docs" / "operations.md").read_text()


def locked(name: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "debian" / name).read_text(), re.M))


def test_lock_has_every_dependency_with_hashes() -> None:
    names = {re.split(r"[\s<>=!;\[]", each)[0].lower() for each in PROJECT["dependencies"]}
    assert names <= locked("requirements.lock"), "run `make lock`"
    text = (ROOT / "debian" / "requirements.lock").read_text()
    for requirement in re.split(r"\n(?=\S)", text.strip()):
        assert "--hash=sha256:" in requirement


def test_lock_of_build_tools_has_every_tool() -> None:
    needed = (ROOT / "debian" / "build-requirements.in").read_text()
    assert set(re.findall(r"^([a-z-]+)", needed, re.M)) <= locked("build-requirements.lock")


def test_package_version_is_that_of_project() -> None:
    changelog = (ROOT / "debian" / "changelog").read_text()
    assert changelog.startswith(f"local-controller ({PROJECT['version']}) ")


SBOM = {
    "bomFormat": "CycloneDX",
    "specVersion": "1.6",
    "version": 1,
    "metadata": {"component": {"type": "application", "name": "local-controller"}},
    "components": [],
}


def complete_sbom(folder: Path, sbom: object) -> subprocess.CompletedProcess[str]:
    """Run the script that completes an SBOM, for a wheel of `cryptography` with OpenSSL 3.5.4."""
    file = folder / "sbom.json"
    file.write_text(json.dumps(sbom))
    library = folder / "cryptography" / "hazmat" / "bindings" / "_rust.abi3.so"
    library.parent.mkdir(parents=True)
    library.write_bytes(b"\0\0OpenSSL 3.5.4 30 Sep 2025\0")
    return subprocess.run(
        [sys.executable, ROOT / "debian" / "complete-sbom", file, folder, "0.1.0+deb12"],
        check=False,
        capture_output=True,
        text=True,
    )


def test_package_files_sbom_is_completed_with_openssl_of_cryptography(tmp_path: Path) -> None:
    found = json.loads(complete_sbom(tmp_path, SBOM).stdout)
    assert found["metadata"]["component"]["version"] == "0.1.0+deb12"
    assert [each["purl"] for each in found["components"]] == ["pkg:generic/openssl@3.5.4"]


@pytest.mark.parametrize("artefact", ["package", "image", "wheel"])
def test_package_files_each_build_writes_sbom_and_checksums(artefact: str) -> None:
    script = (ROOT / "debian" / f"build-{artefact}").read_text()
    assert re.search(r'>"[^"\n]*\.cdx\.json"$', script, re.MULTILINE)
    assert re.search(r"sha256sum \./\* >SHA256SUMS", script)


def test_package_scripts_read_pipes_to_the_end() -> None:
    """`grep -q` may end before its input does; with pipefail, a SIGPIPE before it counts as a failure."""
    scripts = [each for folder in ("debian", ".ci") for each in (ROOT / folder).iterdir() if each.is_file()]
    piped = {each.name for each in scripts if re.search(r"\|\s*grep -\w*q", each.read_text())}
    assert not piped


def test_package_files_invalid_sbom_ends_the_build(tmp_path: Path) -> None:
    done = complete_sbom(tmp_path, SBOM | {"bomFormat": "SPDX"})
    assert done.returncode == 1
    assert done.stderr.startswith("complete-sbom: not valid: ")
