"""Records as a newer version may have written them: with members that this one does not know."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from controller.model.journal import Record
from controller.store.record_rules import RULES, read_entry
from controller.store.rule_types import key_of
from controller.store.sqlite_journal import FILE, SqliteJournal
from controller.store.state_journal import JournalEntry, Put
from controller.store.state_store import StateStore

ADDED = {"added_later": {"by": ["a newer version", 7, None]}}


def example_of(type_: inspect.Type, added: dict[str, Any]) -> Any:
    """A JSON value of a type with all members; each Struct in it has those of `added`, too."""
    match type_:
        case inspect.StructType(fields=fields):
            return {each.encode_name: example_of(each.type, added) for each in fields} | added
        case inspect.NamedTupleType(fields=fields):
            return [example_of(each.type, added) for each in fields]
        case inspect.UnionType(types=types):
            return example_of(types[0], added)
        case inspect.VarTupleType(item_type=item) | inspect.ListType(item_type=item):
            return [example_of(item, added)]
        case inspect.TupleType(item_types=items):
            return [example_of(each, added) for each in items]
        case inspect.DictType(value_type=value):
            return {"x": example_of(value, added)}
        case inspect.EnumType(cls=cls):
            return next(iter(cls)).value
        case inspect.LiteralType(values=values):
            return values[0]
        case inspect.BytesType():
            return ""
        case inspect.StrType():
            return "x"
        case inspect.BoolType():
            return True
        case inspect.IntType() | inspect.FloatType():
            return type_.ge or 1
        case inspect.DateTimeType():
            return "2026-11-28T12:00:00Z"
        case inspect.NoneType():
            return None
        case inspect.AnyType():
            return {}
    raise AssertionError(type_)


@pytest.mark.parametrize("record_type", RULES, ids=lambda record_type: record_type.__name__)
def test_record_of_newer_version_is_read_without_its_further_members(record_type: type[Record]) -> None:
    info = inspect.type_info(record_type)
    known, newer = (msgspec.json.encode(example_of(info, added)) for added in ({}, ADDED))
    assert known != newer
    kind, key = RULES[record_type].kind, key_of("x")
    record = read_entry(JournalEntry(1, kind, key, newer))
    assert record is not None
    assert record == read_entry(JournalEntry(1, kind, key, known))


def test_store_of_newer_version_is_loaded_without_an_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    journal = SqliteJournal(tmp_path / FILE)
    puts = [
        Put(rule.kind, key_of("x"), msgspec.json.encode(example_of(inspect.type_info(type_), ADDED)))
        for type_, rule in RULES.items()
    ]
    journal.commit(puts, journal.token)
    journal.close()
    store = StateStore(tmp_path)
    assert {type_.__name__: len(store.load(type_)) for type_ in RULES} == {
        type_.__name__: 1 for type_ in RULES
    }
    store.close()
    assert caplog.messages == []
