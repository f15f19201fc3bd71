"""Rules of sites without backend: cards, card files, and hints."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from controller.config.card_files import CardFileError, load_cards, parse_card_file
from controller.config.loader import check_config
from controller.config.schema import CardConfig

HOME = """
[site]
id = "home"
[store]
directory = "state"
[[circuit]]
id = "house"
limit_a = 35
[[station]]
id = "CS01"
circuit = "house"
"""
ANNA = '[[card]]\ntoken = "04A1B2"\nlabel = "Anna"\n'


def check(text: str, folder: Path | None = None) -> tuple[list[str], list[str]]:
    _, errors, hints = check_config(text, "c.toml", folder)
    return [str(each) for each in errors], [str(each) for each in hints]


def test_site_without_backend_is_valid() -> None:
    errors, hints = check(HOME + ANNA)
    assert errors == []
    assert [hint for hint in hints if "password" not in hint] == []


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (ANNA + '[[card]]\ntoken = "04a1b2"\n', "card[1].token: is listed twice; remove one"),
        (ANNA + '[[card]]\ntoken = "X"\nlabel = "anna"\n', 'card[1].label: "anna" is listed twice'),
        ("[[card]]\ntoken = 4711\n", "card[0].token: has an invalid value; put it in quotes"),
        (f'[[card]]\ntoken = "{"7" * 40}"\n', "card[0].token: has an invalid value; write a text of 1 to 36"),
        ('[[card]]\ntoken = "X"\nvalid_until = "soon"\n', "write a date, like 2027-12-31"),
        ("[[card]]\n", "card[0].token: is missing; add token"),
        ('[[card]]\ntoken = "X"\npriority_class = "vip"\n', 'priority_class "vip" does not exist; add a'),
        ('[[backend]]\nid = "local-csms"\nurl = "ws://h/{station}"\n', "stands for the controller itself"),
        ('[local_csms]\nauthorization = "fre"\n', 'did you mean "free"?'),
    ],
)
def test_local_csms_rules_wrong_card_is_found_with_remedy(text: str, error: str) -> None:
    errors, _ = check(HOME + text)
    assert len(errors) == 1
    assert error in errors[0]
    assert "4711" not in errors[0]
    assert "7777" not in errors[0]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "no card is listed: no driver can charge"),
        (ANNA, "password_file: is missing: anybody in the network"),
        ('[[card]]\ntoken = "0123456789012345678901234"\n', "has 25 characters: OCPP 1.6 has 20"),
        ('[[backend]]\nid = "cpo"\nurl = "ws://h/{station}"\n' + ANNA, 'if a backend is, add owner = "cpo"'),
    ],
)
def test_local_csms_rules_odd_site_without_backend_gets_hint(text: str, hint: str) -> None:
    errors, hints = check(HOME + text)
    assert errors == []
    assert any(hint in each for each in hints)


def test_local_csms_rules_absence_mode_without_owner_gets_hint() -> None:
    _, hints = check(HOME + 'when_backend_away = "autonomous"\n' + ANNA)
    assert any("has no effect: the station has no owner" in each for each in hints)


def test_cards_of_file_and_configuration_are_taken_together(tmp_path: Path) -> None:
    (tmp_path / "cards.csv").write_text("Token;Label;valid_until;blocked\nBB;Ben;2027-12-31;yes\n\nCC;;;\n")
    (tmp_path / "cards.csv").chmod(0o600)
    text = HOME + '[local_csms]\ncards_file = "cards.csv"\n' + ANNA
    config, errors, _ = check_config(text, "c.toml", tmp_path)
    assert errors == []
    assert config is not None
    assert load_cards(config) == [
        CardConfig(token="04A1B2", label="Anna"),
        CardConfig(token="BB", label="Ben", valid_until=date(2027, 12, 31), blocked=True),
        CardConfig(token="CC"),
    ]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "line 1: has no column token; begin the file with token,label"),
        ("label\nAnna\n", "line 1: has no column token"),
        ("token,colour\nA,red\n", 'line 1: "colour" is no column of a card file; use token, label'),
        ("token,label\nA,b,c\n", "line 2: has 3 columns, line 1 names 2"),
        ("token,label\n\n,b\n", "line 3: has no token"),
        ("token,valid_until\nSECRET,31.12.2027\n", 'line 2: valid_until cannot be "31.12.2027"'),
        ("token,blocked\nSECRET,perhaps\n", 'line 2: blocked cannot be "perhaps"'),
        (f"token\n{'SECRET' * 9}\n", "line 2: token cannot be its value; write a text of 1 to 36 characters"),
        ("token,type\nSECRET,RFID\n", 'line 2: type cannot be "RFID"; leave it out, or write a type'),
        ("token\n4,12E+13\n", "line 2: has 2 columns, line 1 names 1"),
        ("token;label\n4,12E+13;A\n", "line 2: its token is a number that a spreadsheet has rounded; format"),
        ('token,label\n"SECRET,A\nB,C\n', "line 3: unexpected end of data; write it as CSV (RFC 4180)"),
    ],
)
def test_local_csms_rules_wrong_card_file_is_found_with_line(text: str, error: str) -> None:
    with pytest.raises(CardFileError) as raised:
        parse_card_file(text)
    assert error in str(raised.value)
    assert "SECRET" not in str(raised.value)


@pytest.mark.parametrize("text", ["token\tlabel\nAA\tAnna\n", "sep=;\r\ntoken;label\r\nAA;Anna\r\n"])
def test_local_csms_rules_card_file_of_a_spreadsheet_is_read(text: str) -> None:
    assert parse_card_file(text) == [CardConfig(token="AA", label="Anna")]


def test_local_csms_rules_card_in_file_and_configuration_is_error(tmp_path: Path) -> None:
    (tmp_path / "cards.csv").write_text("token,blocked\n04a1b2,true\n")
    (tmp_path / "cards.csv").chmod(0o600)
    errors, _ = check(HOME + '[local_csms]\ncards_file = "cards.csv"\n' + ANNA, tmp_path)
    assert [each for each in errors if "card[0].token: is in cards_file, too; remove one of the two" in each]


def test_local_csms_rules_card_file_that_everybody_can_read_is_error(tmp_path: Path) -> None:
    (tmp_path / "cards.csv").write_text("token\nA\n")
    (tmp_path / "cards.csv").chmod(0o644)
    errors, _ = check(HOME + '[local_csms]\ncards_file = "cards.csv"\n', tmp_path)
    assert any("readable by everybody" in each for each in errors)


def test_local_csms_rules_missing_card_file_is_error(tmp_path: Path) -> None:
    errors, _ = check(HOME + '[local_csms]\ncards_file = "none.csv"\n', tmp_path)
    assert any("none.csv cannot be read" in each for each in errors)


def test_local_csms_rules_card_number_with_colons_is_hint() -> None:
    _, hints = check(HOME + '[[card]]\ntoken = "04:A1:B2"\n')
    assert [each for each in hints if "contains :" in each and "most write the card's number" in each]
