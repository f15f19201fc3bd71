"""Test of the stamps by which a change of a file is noticed."""

from __future__ import annotations

import os
from pathlib import Path

from drivers.file_stamp import file_stamp


def test_stamp_stays_while_file_is_same(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("one")

    assert file_stamp(tmp_path / "ca.pem") == file_stamp(str(tmp_path / "ca.pem")) is not None


def test_stamp_of_missing_file_is_none(tmp_path: Path) -> None:
    assert file_stamp(tmp_path / "ca.pem") is None


def test_stamp_differs_after_replacement_of_same_size_and_time(tmp_path: Path) -> None:
    file, other = tmp_path / "ca.pem", tmp_path / "new.pem"
    for path, text in ((file, "one"), (other, "two")):
        path.write_text(text)
        os.utime(path, (1, 1))
    before = file_stamp(file)

    other.replace(file)

    assert file_stamp(file) != before


def test_stamp_differs_after_write_of_other_size(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("one")
    os.utime(tmp_path / "ca.pem", (1, 1))
    before = file_stamp(tmp_path / "ca.pem")

    (tmp_path / "ca.pem").write_text("three")
    os.utime(tmp_path / "ca.pem", (1, 1))

    assert file_stamp(tmp_path / "ca.pem") != before


def test_stamp_of_folder_differs_after_new_file(tmp_path: Path) -> None:
    os.utime(tmp_path, (1, 1))
    before = file_stamp(tmp_path)

    (tmp_path / "site.pem").touch()

    assert file_stamp(tmp_path) != before
