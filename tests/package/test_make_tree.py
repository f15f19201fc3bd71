"""Root directories of releases: which archive is asked, and the error where it does not answer."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "debian" / "make-tree"
PROGRAMS = {
    # It makes trees of all releases but one, and prints how it was called.
    "debootstrap": """
echo "$@" >>"$CALLS"
[ "$3" != --components=main,universe ] || shift 2
[ "$3" != "$FAILS" ] || { echo "E: Invalid Release file" ; exit 1; }
mkdir "$4"
""",
    "systemd-nspawn": "",
    "dpkg": 'echo "$MACHINE"',
}


class Archives:
    """Programs that stand for those of the archives."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "programs").mkdir()
        for name, text in PROGRAMS.items():
            file = folder / "programs" / name
            file.write_text(f"#!/bin/bash\n{text}")
            file.chmod(0o755)

    def make_tree(
        self,
        release: str,
        fails: str = "",
        machine: str = "amd64",
        mirror: str = "",
        others: str = os.environ["PATH"],
    ) -> subprocess.CompletedProcess[str]:
        """Make the tree of a release without further packages."""
        more = {
            "PATH": f"{self._folder / 'programs'}:{others}",
            "TREES": str(self._folder / "trees"),
            "CALLS": str(self._folder / "calls"),
            "FAILS": fails,
            "MACHINE": machine,
            "MIRROR": mirror,
        }
        return subprocess.run(
            [SCRIPT, release, self._folder / "tree"],
            env=os.environ | more,
            capture_output=True,
            text=True,
            check=False,
        )

    def called(self) -> list[str]:
        """Return the arguments of the last call of debootstrap."""
        return (self._folder / "calls").read_text().splitlines()[-1].split()


@pytest.fixture
def archives(tmp_path: Path) -> Archives:
    return Archives(tmp_path)


@pytest.mark.parametrize(
    ("release", "machine", "address"),
    [
        ("bookworm", "amd64", "http://deb.debian.org/debian"),
        ("trixie", "arm64", "http://deb.debian.org/debian"),
        ("noble", "amd64", "http://archive.ubuntu.com/ubuntu"),
        ("noble", "arm64", "http://ports.ubuntu.com/ubuntu-ports"),
    ],
)
def test_make_tree_asks_archive_of_release_and_machine(
    archives: Archives, tmp_path: Path, release: str, machine: str, address: str
) -> None:
    done = archives.make_tree(release, machine=machine)
    assert done.returncode == 0, done.stderr
    assert address in archives.called()
    assert (tmp_path / "tree").is_dir()


def test_make_tree_takes_packages_from_named_mirror(archives: Archives) -> None:
    assert archives.make_tree("noble", mirror="http://mirror.example/ubuntu").returncode == 0
    assert "http://mirror.example/ubuntu" in archives.called()


@pytest.mark.parametrize("release", ["bookworm", "trixie", "noble"])
def test_make_tree_archive_that_fails_is_named_with_log(
    archives: Archives, tmp_path: Path, release: str
) -> None:
    done = archives.make_tree(release, fails=release)
    assert done.returncode == 1
    reason, error = done.stderr.splitlines()[-2:]
    assert reason == "E: Invalid Release file"
    assert error.startswith(f"make-tree: no tree of {release} from http://")
    assert f"(log: {tmp_path}/trees/{release}.log)" in error
    assert not (tmp_path / "tree").exists()


def test_make_tree_without_debootstrap_names_packages(archives: Archives, tmp_path: Path) -> None:
    (tmp_path / "programs" / "debootstrap").unlink()
    done = archives.make_tree("trixie", others="")
    assert done.returncode == 1
    assert done.stderr == (
        "make-tree: debootstrap is missing: sudo apt install debootstrap systemd-container\n"
    )
