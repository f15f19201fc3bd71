"""Checks of `doctor`: each looks at one part of the gateway and reports findings with a remedy."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import ssl
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from controller.chargers.quirks import find_quirk
from controller.config.schema import (
    BackendConfig,
    CircuitConfig,
    Config,
    DimmingConfig,
    DimmingModuleConfig,
)
from controller.model.expiry import BEGIN_REMEDY, Expiry, ExpiryLevel
from controller.model.journal import BootStored
from controller.store.record_rules import kind_of_type, read_entry
from controller.store.state_journal import StoreError
from controller.store.store_transfer import open_store_file
from controller.transport.tls import make_client_context
from controller.web.status_model import BackendStatus, ControllerStatus
from drivers.errors import InputError
from drivers.gpio import check_lines

Level = Literal["ok", "warning", "error"]

SERVICE_USER = "local-controller"
BACKEND_TIMEOUT_S = 5.0
BACKEND_LATE_S = 3600.0
"""Age of the oldest message in a backend's queue that is worth a warning."""


class DoctorFinding(msgspec.Struct, frozen=True):
    """Result of one check: `remedy` is empty where nothing has to be done."""

    check: str
    level: Level
    text: str
    remedy: str = ""


TIME_DAEMONS = {
    "chrony": "usr/sbin/chronyd",
    "systemd-timesyncd": "usr/lib/systemd/systemd-timesyncd",
    "ntpsec": "usr/sbin/ntpd",
}
"""Program of each time daemon by the name of its unit."""
LONGEST_COMM = 15
"""Characters of a process's name (proc(5), `comm`)."""


def check_clock(*, synchronised: bool, daemon: str, installed: str = "") -> Iterator[DoctorFinding]:
    """Check the clock; `daemon` runs, `installed` may be stopped; empty for none."""
    if synchronised:
        yield DoctorFinding("clock", "ok", f"synchronised by {daemon or 'a time daemon'}")
    elif daemon:
        yield DoctorFinding(
            "clock",
            "error",
            f"not synchronised, although {daemon} runs",
            "check its servers (`chronyc sources`, `timedatectl timesync-status`) and UDP port 123",
        )
    elif installed:
        yield DoctorFinding(
            "clock",
            "error",
            f"not synchronised: {installed} is installed but does not run",
            f"sudo systemctl enable --now {installed}; `systemctl status {installed}` shows what prevents it",
        )
    else:
        yield DoctorFinding(
            "clock",
            "error",
            "not synchronised, and no time daemon runs",
            "sudo apt install chrony; signed commands and leases need the time",
        )


def running_time_daemon(proc: Path = Path("/proc")) -> str:
    """Return the unit of the time daemon that runs on this machine; empty for none."""
    names = {Path(program).name[:LONGEST_COMM]: unit for unit, program in TIME_DAEMONS.items()}
    for name in proc.glob("[0-9]*/comm"):
        try:
            found = names.get(name.read_text().strip())
        except OSError:  # the process has ended
            continue
        if found:
            return found
    return ""


def installed_time_daemon(root: Path = Path("/")) -> str:
    """Return the unit of a time daemon that is installed under `root`; empty for none."""
    return next((unit for unit, program in TIME_DAEMONS.items() if (root / program).exists()), "")


class ServiceUser(msgspec.Struct, frozen=True):
    """User that runs the controller, and its groups."""

    name: str
    uid: int
    gids: frozenset[int]


def find_service_user() -> ServiceUser:
    """Return the user of the packaged service; on a machine without it the user of this process."""
    try:
        entry = pwd.getpwnam(SERVICE_USER)
    except KeyError:
        gids = frozenset({os.getegid(), *os.getgroups()})
        return ServiceUser(pwd.getpwuid(os.geteuid()).pw_name, os.geteuid(), gids)
    return ServiceUser(entry.pw_name, entry.pw_uid, frozenset(os.getgrouplist(entry.pw_name, entry.pw_gid)))


def check_devices(config: Config, user: ServiceUser) -> Iterator[DoctorFinding]:
    """Check that the serial ports and GPIO lines exist and that the service may use them."""
    modules = () if config.dimming is None else config.dimming.module
    serial_ports = {each.device for each in config.meter if each.device is not None}
    serial_ports |= {each.device for each in modules if each.device is not None and each.transport != "gpio"}
    for port in sorted(serial_ports):
        missing = "plug the adapter in, or write its name: `ls -l /dev/serial/by-id /dev/rs485`"
        yield _check_device(Path(port), "serial port", missing, user)
    for module in modules:
        if config.dimming is not None and module.transport == "gpio" and module.device is not None:
            missing = "connect the chip's adapter, or write a chip that `gpioinfo` lists"
            finding = _check_device(Path(module.device), "GPIO chip", missing, user)
            if finding.level == "ok":
                finding = _check_lines(module.device, _wired_lines(config.dimming, module), finding)
            yield finding


def _wired_lines(dimming: DimmingConfig, module: DimmingModuleConfig) -> list[int]:
    sources = {each.id for each in dimming.source if each.module == module.id}
    return [each.input for each in dimming.contact if each.source in sources]


def _check_lines(chip: str, lines: Sequence[int], usable: DoctorFinding) -> DoctorFinding:
    """Return `usable`, or the problem of a line; its remedy is the last part of the driver's text."""
    try:
        check_lines(chip, lines)
    except InputError as error:
        text, _, remedy = str(error).partition(": ")
        return DoctorFinding("devices", "error", text, remedy)
    return usable


def _check_device(device: Path, kind: str, missing: str, user: ServiceUser) -> DoctorFinding:
    """Check one device; `missing` is the remedy where it does not exist."""
    try:
        found = device.stat()
    except OSError as error:
        return DoctorFinding("devices", "error", f"{device}: {error.strerror}", missing)
    if not stat.S_ISCHR(found.st_mode):
        return DoctorFinding("devices", "error", f"{device} is no device", f"write the name of a {kind}")
    if _may(found, user, os.R_OK | os.W_OK):
        return DoctorFinding("devices", "ok", f"{device}: {user.name} may use it")
    remedy = f"sudo usermod -a -G {_group_name(found.st_gid)} {user.name}, then restart the service"
    if found.st_gid == 0 or not found.st_mode & stat.S_IWGRP:
        remedy = (
            "its group is not that of such devices: reinstall the package, whose udev rules set it, then "
            f"sudo udevadm trigger --action=add {device}"
        )
    return DoctorFinding("devices", "error", f"{device}: {user.name} may not use it", remedy)


def _may(found: os.stat_result, user: ServiceUser, rights: int) -> bool:
    """Return whether a user has all rights (R_OK, W_OK, X_OK) to a file; POSIX ACLs are not regarded."""
    if user.uid == 0:
        return True
    if found.st_uid == user.uid:
        granted = found.st_mode >> 6
    elif found.st_gid in user.gids:
        granted = found.st_mode >> 3
    else:
        granted = found.st_mode
    return granted & rights == rights


def check_files(files: Iterable[Path], user: ServiceUser) -> Iterator[DoctorFinding]:
    """Check that the service may read the configuration and the files that it names."""
    barriers = dict.fromkeys(filter(None, (_find_barrier(file, user, os.R_OK) for file in files)))
    for path in barriers:
        rights = "enter" if path.is_dir() else "read"
        yield DoctorFinding(
            "files",
            "error",
            f"{path}: {user.name} may not {rights} it",
            f"sudo chgrp {user.name} {path} && sudo chmod g+rX {path}",
        )
    if not barriers:
        yield DoctorFinding("files", "ok", f"{user.name} may read the configuration and its files")


def _find_barrier(file: Path, user: ServiceUser, rights: int) -> Path | None:
    """Return the directory that a user may not enter on the way to a file, or the file without the rights."""
    for path, needed in [*((each, os.X_OK) for each in reversed(file.absolute().parents)), (file, rights)]:
        try:
            if not _may(path.stat(), user, needed):
                return path
        except OSError:
            return path
    return None


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def check_certificates(ends: Iterable[Expiry], utc: float) -> Iterator[DoctorFinding]:
    """Check the ends of certificates and keys."""
    for end in ends:
        urgency = end.level(utc)
        if begin := end.describe_begin(utc):
            yield DoctorFinding("certificates", "error", begin, BEGIN_REMEDY)
        elif urgency is ExpiryLevel.NONE:
            yield DoctorFinding("certificates", "ok", end.describe(utc))
        else:
            level: Level = "error" if urgency >= ExpiryLevel.CRITICAL else "warning"
            yield DoctorFinding("certificates", level, end.describe(utc), "renew it")


def check_store_rights(
    directory: Path, user: ServiceUser, writable: Sequence[Path] | None
) -> Iterator[DoctorFinding]:
    """Check that the service may write into the store's directory.

    `writable`: the directories that its sandbox lets it write; None where it has no sandbox.
    """
    if writable is not None and not any(directory.is_relative_to(each) for each in writable):
        yield DoctorFinding(
            "store",
            "error",
            f"{directory}: the sandbox of the service does not let it write there",
            f"sudo systemctl edit local-controller: [Service] ReadWritePaths={directory}; or leave out "
            "directory in [store]",
        )
    if directory.is_dir() and _find_barrier(directory, user, os.R_OK | os.W_OK | os.X_OK):
        yield DoctorFinding(
            "store",
            "error",
            f"{directory}: {user.name} may not write there",
            f"sudo chown -R {user.name}: {directory}",
        )


def check_over_commitment(config: Config) -> Iterator[DoctorFinding]:
    """Check what the EVSEs below each circuit draw without the controller, and at most."""
    usual_a = config.load_management.fallback_a
    below: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    parents = {circuit.id: circuit.parent for circuit in config.circuit}
    for station in config.station:
        for evse in station.evse:
            fallback_a = usual_a if evse.fallback_a is None else evse.fallback_a
            above = evse.circuit or station.circuit
            while above is not None:
                below[above].append((min(fallback_a, evse.max_a), evse.max_a))
                above = parents.get(above)
    for circuit in config.circuit:
        yield _check_commitment(circuit, below[circuit.id])


def _check_commitment(circuit: CircuitConfig, evses: list[tuple[float, float]]) -> DoctorFinding:
    limit_a = min(circuit.limit_a) if isinstance(circuit.limit_a, tuple) else circuit.limit_a
    fallback_a, full_a = sum(each[0] for each in evses), sum(each[1] for each in evses)
    base_a = circuit.base_load_a or 0.0
    text = (
        f"circuit {circuit.id}: {full_a:g} A if all charge, {fallback_a:g} A without the controller"
        f"{f' beside {base_a:g} A of the building' if base_a else ''}, limit {limit_a:g} A"
    )
    if fallback_a + base_a > limit_a:
        return DoctorFinding(
            "over-commitment",
            "warning",
            text,
            f"lower fallback_a of its stations to {max(0.0, limit_a - base_a) / max(1, len(evses)):.1f} A "
            "or less: while the controller is off, its fuse may trip",
        )
    return DoctorFinding("over-commitment", "ok", text)


def check_running(status: ControllerStatus | None, reason: str) -> Iterator[DoctorFinding]:
    """Check the state of the running controller; `reason`: why there is none."""
    if status is None:
        yield DoctorFinding(
            "controller",
            "warning",
            reason,
            "sudo systemctl start local-controller; its log: sudo journalctl -u local-controller -p warning",
        )
        return
    if not status.healthy:
        yield DoctorFinding(
            "controller",
            "error",
            f"last control step {status.tick_age_s:.0f} s ago",
            "see the log; the watchdog restarts it",
        )
    else:
        yield DoctorFinding("controller", "ok", f"version {status.version} runs, site {status.site}")
    if status.configuration_problem:
        yield DoctorFinding(
            "controller",
            "error",
            "runs with the last valid configuration, since the file has errors",
            "sudo local-controller check",
        )
    if not status.store.writable:
        yield DoctorFinding(
            "controller",
            "error",
            f"store cannot be written: {status.store.error}",
            "free or replace the disk",
        )
    for meter in status.meters:
        if meter.problem:
            yield DoctorFinding(
                "meters",
                "error",
                f"meter {meter.id}: {meter.problem}",
                "check its wiring and settings; to read it alone: sudo systemctl stop 'local-controller*', "
                "sudo local-controller meter read",
            )
        else:
            yield DoctorFinding("meters", "ok", f"meter {meter.id}: {meter.quality}")


def check_backends(config: Config, status: ControllerStatus | None) -> Iterator[DoctorFinding]:
    """Check each backend: its queue by the running controller, and that its address can be reached."""
    known = {} if status is None else {backend.id: backend for backend in status.backends}
    for backend in config.backend:
        queue = known.get(backend.id)
        if queue is not None:
            yield from _check_queue(queue)
        if queue is None or not any(queue.links.values()):
            yield _check_reachable(backend)


def _check_queue(queue: BackendStatus) -> Iterator[DoctorFinding]:
    if queue.set_aside:
        yield DoctorFinding(
            "backends",
            "warning",
            f"backend {queue.id}: {queue.set_aside} messages were set aside",
            "sudo local-controller outbox list shows why; retry or drop them",
        )
    if queue.waiting and queue.oldest_s > BACKEND_LATE_S:
        yield DoctorFinding(
            "backends",
            "warning",
            f"backend {queue.id}: {queue.waiting} messages wait, the oldest {queue.oldest_s / 3600:.1f} h",
            "ask its operator; they are delivered once it answers",
        )
    if any(queue.links.values()):
        yield DoctorFinding("backends", "ok", f"backend {queue.id}: {sum(queue.links.values())} links")


def _check_reachable(backend: BackendConfig) -> DoctorFinding:
    """Connect to a backend's address by TCP and TLS, without an upgrade request."""
    parts = urlsplit(backend.url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "wss" else 80)
    try:
        with socket.create_connection((host, port), timeout=BACKEND_TIMEOUT_S) as plain:
            if parts.scheme == "wss":
                context = make_client_context(backend.ca, backend.certificate, backend.key)
                context.wrap_socket(plain, server_hostname=host).close()
    except ssl.SSLCertVerificationError as error:
        return DoctorFinding(
            "backends",
            "error",
            f"backend {backend.id}: certificate of {host} rejected: {error.verify_message}",
            "name its authority: ca = ...; and check the clock",
        )
    except OSError as error:
        return DoctorFinding(
            "backends",
            "error",
            f"backend {backend.id}: {host} port {port} cannot be reached: {error.strerror or error}",
            "check url, DNS, gateway and firewall",
        )
    return DoctorFinding("backends", "ok", f"backend {backend.id}: {host} port {port} answers")


def check_firmware(boots: Iterable[BootStored]) -> Iterator[DoctorFinding]:
    """Check for stations whose firmware has a quirk that other firmware of the model does not have."""
    for boot in boots:
        quirk = find_quirk(boot.vendor, boot.model, boot.firmware)
        if quirk.firmware != "*":
            yield DoctorFinding(
                "firmware",
                "warning",
                f"station {boot.station}: firmware {boot.firmware} {quirk.why}",
                "update its firmware if the vendor has a newer one",
            )


def check_store(directory: Path) -> Iterator[DoctorFinding]:
    """Check that the store can be read, and the firmware of the stations in it."""
    try:
        journal = open_store_file(directory)
        entries = journal.load(kind_of_type(BootStored))
        journal.close()
    except StoreError as error:
        yield DoctorFinding("store", "warning", str(error), "start the controller once; or restore a backup")
        return
    boots = [record for record in map(read_entry, entries) if isinstance(record, BootStored)]
    yield DoctorFinding("store", "ok", f"readable, stations that have booted: {len(boots)}")
    yield from check_firmware(boots)
