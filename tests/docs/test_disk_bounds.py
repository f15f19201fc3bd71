"""The table of what grows on the disk: it names every kind of record, and the bounds of the code."""

from __future__ import annotations

import re
from pathlib import Path

from controller.dimming.command_handler import REFUSALS_A_MINUTE
from controller.history.recorder import KEPT_IN_MINUTES, KEPT_QUARTERS, MOST_CHANNELS
from controller.offline.authorization_cache import MOST_TOKENS
from controller.offline.outbox import MOST_WAITING
from controller.offline.response_cache import MOST_RESPONSES
from controller.offline.station_snapshot import MOST_CONNECTORS
from controller.offline.transaction_id_map import MOST_PAST
from controller.profiles.absorbed_profiles import MOST_ABSORBED, MOST_FORWARDED
from controller.services.access.audit_log import MOST_ENTRIES
from controller.services.web.configuration_editor import MOST_VERSIONS
from controller.session_ledger.session_recorder import MOST_BEGUN_A_DAY, MOST_RUNNING
from controller.signing.policy_messages import MAX_RECEIVED
from controller.signing.replay_cache import CAPACITY
from controller.store.record_rules import RULES
from controller.store.sqlite_journal import MOST_ASIDE, MOST_WAL_BYTES

SECTION = (Path(__file__).parents[2] / "docs" / "operations.md").read_text().partition("## Disk\n")[2]
ROWS = {
    kind: bound
    for kinds, bound in re.findall(r"^\| (`.*?) \| (.*) \|$", SECTION, re.M)
    for kind in re.findall(r"`([a-z-]+)`", kinds)
}


def test_disk_bounds_are_documented_for_every_kind_of_record() -> None:
    assert set(ROWS) == {rule.kind for rule in RULES.values()}


def test_disk_bounds_are_those_of_the_code() -> None:
    for kind, *numbers in (
        ("outbox", MOST_WAITING),
        ("response", MOST_RESPONSES, MOST_PAST),
        ("authorization", MOST_TOKENS),
        ("snapshot", MOST_CONNECTORS, MOST_ABSORBED, MOST_FORWARDED),
        ("session", MOST_BEGUN_A_DAY, MOST_RUNNING),
        ("history-minutes", KEPT_IN_MINUTES, KEPT_QUARTERS, MOST_CHANNELS),
        ("audit", MOST_ENTRIES, MOST_VERSIONS),
        ("policy", MAX_RECEIVED, CAPACITY),
    ):
        stated = {int(each) for each in re.findall(r"\d+", ROWS[kind])}
        assert set(numbers) <= stated, kind
    files = SECTION.partition("Files: ")[2]
    assert f"cut to {MOST_WAL_BYTES >> 20} MB" in files
    assert f"{MOST_ASIDE} of each remain" in " ".join(files.split())
    assert f"at most {REFUSALS_A_MINUTE} refused commands a" in files
