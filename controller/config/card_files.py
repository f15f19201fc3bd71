"""Card files: the cards of a site as CSV, beside those in the configuration itself."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import msgspec

from controller.config.password_files import ConfigError
from controller.config.schema import CardConfig, Config
from drivers.coded_text import coded

_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


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

    Columns are separated by comma or semicolon. Raises CardFileError.
    """
    header = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text), delimiter=";" if ";" in header else ",")
    known = CardConfig.__struct_fields__
    cards: list[CardConfig] = []
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
                cards.append(_parse_card(names, cells, reader.line_num))  # noqa: PERF401 - line_num moves on
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
                coded("write it as the key of [[card]]"),
            ) from None
    return msgspec.convert(values, CardConfig)
