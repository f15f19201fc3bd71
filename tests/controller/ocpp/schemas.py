"""The official JSON schemas, as PyPI `ocpp` ships them, with numbers read as decimals.

Decimals because `multipleOf: 0.1` cannot hold for binary floats.
"""

from __future__ import annotations

import json
from decimal import Decimal
from functools import cache
from importlib import resources
from typing import Any

import jsonschema

from controller.ocpp.frames import Version

_PACKAGES = {Version.V16: "ocpp.v16", Version.V201: "ocpp.v201", Version.V21: "ocpp.v21"}


def _loads(text: str) -> Any:
    return json.loads(text, parse_float=Decimal)


@cache
def _validator(version: Version, message: str) -> jsonschema.protocols.Validator:
    file = resources.files(_PACKAGES[version]) / "schemas" / f"{message}.json"
    schema = _loads(file.read_text(encoding="utf-8-sig"))
    return jsonschema.validators.validator_for(schema)(schema)


def end_reasons() -> set[str]:
    """Return why a transaction may end, in all versions."""
    found: set[str] = set()
    for version, message in ((Version.V16, "StopTransaction"), (Version.V21, "TransactionEventRequest")):
        schema = _validator(version, message).schema
        kind = (
            schema["properties"]["reason"]
            if version is Version.V16
            else schema["definitions"]["ReasonEnumType"]
        )
        found |= set(kind["enum"])
    return found


def request(version: Version, action: str) -> str:
    """The name of an action's request schema: 1.6 has it without a suffix."""
    return action if version is Version.V16 else f"{action}Request"


def check(version: Version, message: str, payload: bytes) -> None:
    """Raise jsonschema.ValidationError unless the payload fits the schema named `message`."""
    _validator(version, message).validate(_loads(payload.decode()))
