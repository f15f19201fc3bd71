"""New keys of a grid operator count once m of n people have approved them; typed as a person types it."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.cli.main import main
from controller.signing.policy_file import LoadedPolicy, check_policy, read_policy

APPROVERS = ("anna", "bert", "carl")
ROLE = """
[[role]]
id = "dso"
holders = ["dso"]
key_approvals = 2
key_approvers = ["anna", "bert", "carl"]
[[role.may]]
actions = ["SetChargingProfile"]
"""


class ApprovedPolicy:
    """Keys of the grid operator and of its approvers, and a policy that is written step by step."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.file = folder / "policy.toml"
        self._folder = folder
        self._capsys = capsys
        for holder in (*APPROVERS, "dso"):
            self.run("keys", "new", folder / holder, "--holder", holder, "--days", "100")
        self._head = "version = 1\n" + "".join(self.table(holder) for holder in APPROVERS)
        self.approvals: list[str] = []
        self.entry = self.table("dso")

    def run(self, *words: str | Path) -> str:
        assert main([*map(str, words)]) == 0
        return self._capsys.readouterr().out

    def table(self, holder: str) -> str:
        return self.run("keys", "export", self._folder / holder)

    def write(self) -> LoadedPolicy:
        self.file.write_text(f"{self._head}{self.entry}{''.join(self.approvals)}{ROLE}")
        return read_policy(self.file)

    def approve(self, approver: str) -> None:
        self.write()
        out = self.run("keys", "approve", self.file, "--holder", "dso", "--key", self._folder / approver)
        self.approvals.append(out)

    def holders(self) -> set[str]:
        return {key.holder for key in self.write().keys}


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> ApprovedPolicy:
    return ApprovedPolicy(tmp_path, capsys)


def test_key_counts_once_enough_holders_have_approved_it(site: ApprovedPolicy) -> None:
    assert site.holders() == set(APPROVERS)
    site.approve("anna")
    (unapproved,) = site.write().unapproved
    assert (unapproved.given, unapproved.needed) == (1, 2)
    site.approve("bert")
    assert site.holders() == {*APPROVERS, "dso"}
    assert site.write().unapproved == ()


def test_key_approved_twice_by_one_holder_does_not_count(site: ApprovedPolicy) -> None:
    site.approve("anna")
    site.approvals *= 2
    assert "dso" not in site.holders()


def test_key_approvals_approval_does_not_cover_changed_entry(site: ApprovedPolicy) -> None:
    site.approve("anna")
    site.approve("bert")
    assert "dso" in site.holders()
    site.entry = "\n".join(line for line in site.entry.splitlines() if "not_after" not in line) + "\n"
    assert "dso" not in site.holders()


@pytest.mark.parametrize("value", ["", "nonsense", "AAAA"])
def test_forged_approval_does_not_count(site: ApprovedPolicy, value: str) -> None:
    site.approve("anna")
    site.approvals.append(f'[[key.approval]]\nby = "bert"\nvalue = "{value}"\n')
    assert "dso" not in site.holders()


def test_approval_by_foreign_key_is_refused(site: ApprovedPolicy, tmp_path: Path) -> None:
    site.write()
    command = ["keys", "approve", site.file, "--holder", "dso", "--key", tmp_path / "dso"]
    assert main([*map(str, command)]) != 0


def test_policy_check_names_key_that_waits(site: ApprovedPolicy, capsys: pytest.CaptureFixture[str]) -> None:
    site.approve("anna")
    site.write()
    assert main(["policy", "check", str(site.file)]) == 0
    assert "key of dso not in force: 1 of 2 approvals" in capsys.readouterr().err


def test_more_approvals_than_approvers_are_error(site: ApprovedPolicy, tmp_path: Path) -> None:
    site.write()
    text = site.file.read_text().replace("key_approvals = 2", "key_approvals = 4")
    _, errors = check_policy(text, "policy.toml", tmp_path)
    assert any("key_approvers" in str(error) for error in errors)
