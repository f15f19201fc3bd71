"""Card files: the cards of a site as CSV, beside those in the configuration itself."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import msgspec

from controller.config.password_files import ConfigError
from controller.config.schema import CardConfig, Config
from drivers.coded_text import coded

_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}

_ROUNDED = re.compile(r"\d(?:[.,]\d+)?E\+\d+", re.IGNORECASE)
"""A long number as spreadsheets show and export it: its last digits are lost."""
_REMEDIES = {
    "token": coded("write a text of 1 to 36 characters"),
    "blocked": coded("write true or false"),
    "valid_until": coded("write a date, like 2027-12-31"),
    "type": coded("leave it out, or write a type of OCPP, e.g. ISO14443 or KeyCode"),
}
"""Remedies by column."""


class CardFileError(ConfigError):
    """A card file cannot be read. `what` names the line, `remedy` the way out; neither quotes a token."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}; {remedy}")
        self.what = what
        self.remedy = remedy


def load_cards(config: Config) -> list[CardConfig]:
    """Return the cards of a configuration and of its card file. Raises CardFileError."""
    file = config.local_csms.cards_file
    if file is None:
        return list(config.card)
    try:
        text = Path(file).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise CardFileError(
            coded("{file} cannot be read: {reason}", file=file, reason=error.strerror),
            coded("create it, readable by the controller's user"),
        ) from None
    except UnicodeDecodeError:
        raise CardFileError(
            coded("{file} is not UTF-8 text", file=file), coded("save it as CSV UTF-8")
        ) from None
    return [*config.card, *parse_card_file(text)]


def parse_card_file(text: str) -> list[CardConfig]:
    """Parse a card file: a header line with the keys of [[card]], `token` among them, then a card a line.

    Columns are separated by comma, semicolon or tab; a line `sep=;` of a spreadsheet may stand above. Raises
    CardFileError.
    """
    above = text.partition("\n")[0] if text[:4].lower() == "sep=" else ""
    header = text[len(above) :].lstrip("\n").partition("\n")[0]
    delimiter = next((each for each in ";\t" if each in header), ",")
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    if above:
        next(reader)
    known = CardConfig.__struct_fields__
    cards: list[CardConfig] = []
    lines: dict[str, int] = {}
    try:
        names = [name.strip().lower() for name in next(reader, [])]
        if "token" not in names:
            raise CardFileError(
                coded("line 1: has no column token"),
                coded("begin the file with {known}", known=",".join(known)),
            )
        for name in names:
            if name not in known:
                raise CardFileError(
                    coded('line 1: "{name}" is no column of a card file', name=name),
                    coded("use {known}", known=", ".join(known)),
                )
        for cells in reader:
            if any(cell.strip() for cell in cells):
                card, line = _parse_card(names, cells, reader.line_num), reader.line_num
                first = lines.setdefault(card.token.lower(), line)
                if first != line:
                    raise CardFileError(
                        coded("line {line}: its card is in line {first}, too", line=line, first=first),
                        coded("remove one of the two cards"),
                    )
                cards.append(card)
    except csv.Error as error:
        raise CardFileError(
            coded("line {line_num}: {error}", line_num=reader.line_num, error=error),
            coded("write it as CSV (RFC 4180)"),
        ) from None
    return cards


def _parse_card(names: list[str], cells: list[str], line: int) -> CardConfig:
    if len(cells) > len(names):
        raise CardFileError(
            coded(
                "line {line}: has {cells} columns, line 1 names {names}",
                line=line,
                cells=len(cells),
                names=len(names),
            ),
            coded("put a text with a comma in quotes"),
        )
    values: dict[str, object] = {
        name: cell.strip() for name, cell in zip(names, cells, strict=False) if cell.strip()
    }
    if "token" not in values:
        raise CardFileError(
            coded("line {line}: has no token", line=line),
            coded("write the card's idToken, or remove the line"),
        )
    if "blocked" in values:
        values["blocked"] = _BOOLEANS.get(str(values["blocked"]).lower(), values["blocked"])
    for name, value in values.items():
        try:
            msgspec.convert({"token": "0", name: value}, CardConfig)
        except msgspec.ValidationError:
            shown = "its value" if name == "token" else f'"{value}"'
            raise CardFileError(
                coded("line {line}: {name} cannot be {shown}", line=line, name=name, shown=shown),
                _REMEDIES.get(name, coded("write it as the key of [[card]]")),
            ) from None
    if _ROUNDED.fullmatch(str(values["token"])):
        raise CardFileError(
            coded("line {line}: its token is a number that a spreadsheet has rounded", line=line),
            coded("format that column as text, and write the digits anew"),
        )
    return msgspec.convert(values, CardConfig)
