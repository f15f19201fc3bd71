"""`signatures check`: the payloads of WWCP nodes, with and without a choice of keys."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from controller.cli.main import main

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent.parent / "signing" / "wwcp" / "signed_payloads.json").read_text()
)
REFUSED = {
    "21-boot-req-secp192r1": "algorithm 'secp192r1' is not accepted",
    "21-boot-res-secp192r1": "algorithm 'secp192r1' is not accepted",
    "16-boot-req-secp192r1": "algorithm 'secp192r1' is not accepted",
    "16-boot-res-secp192r1": "algorithm 'secp192r1' is not accepted",
    "21-boot-req-brainpool": "algorithm 'brainpoolP256r1' is not accepted",
    "21-enc-hex": "encoding 'hex' is not accepted",
    "21-enc-base32": "encoding 'base32' is not accepted",
    "16-status-res": "it is not signed",
    "16-meter-res": "it is not signed",
}


def _file(folder: Path, entries: object) -> str:
    file = folder / "payloads.json"
    file.write_text(json.dumps(entries))
    return str(file)


def _pem(vector: dict[str, Any], folder: Path) -> str:
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), base64.b64decode(vector["key"]))
    file = folder / "key.pem"
    file.write_bytes(
        key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return str(file)


def test_every_genuine_payload_of_wwcp_nodes_is_valid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["signatures", "check", _file(tmp_path, VECTORS)]) == 1
    first, *lines = capsys.readouterr().out.splitlines()
    assert "any key counts" in first
    assert len(lines) == len(VECTORS)
    for vector, line in zip(VECTORS, lines, strict=True):
        if vector["id"] in REFUSED:
            assert line.startswith(f"{vector['id']} invalid: ")
            assert REFUSED[vector["id"]] in line
        else:
            assert line == f"{vector['id']} valid"


def test_payloads_all_valid_end_with_status_0(tmp_path: Path) -> None:
    good = [vector for vector in VECTORS if vector["id"] not in REFUSED]
    assert main(["signatures", "check", _file(tmp_path, good)]) == 0


def test_signatures_json_has_each_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["signatures", "check", "--json", _file(tmp_path, VECTORS)]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [each["id"] for each in found] == [vector["id"] for vector in VECTORS]
    assert {each["id"] for each in found if not each["valid"]} == {*REFUSED} & {each["id"] for each in found}
    assert all(REFUSED[each["id"]] in each["reason"] for each in found if not each["valid"])
    assert all(each["text"] is None for each in found)


def test_signatures_only_named_key_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = VECTORS[0], next(each for each in VECTORS if each["key"] != VECTORS[0]["key"])
    command = ["signatures", "check", "--key", _pem(one, tmp_path), _file(tmp_path, [one, other])]
    assert main(command) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{one['id']} valid",
        f"{other['id']} invalid: its key is unknown",
    ]


def test_signatures_text_option_prints_what_was_hashed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["signatures", "check", "--text", _file(tmp_path, VECTORS[:1])]) == 0
    assert capsys.readouterr().out.splitlines()[2] == f"    {VECTORS[0]['signedText']}"


def test_signatures_altered_payload_is_invalid_with_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forged = {**VECTORS[0], "wire": VECTORS[0]["wire"].replace("PowerUp", "Unknown")}
    assert main(["signatures", "check", _file(tmp_path, [forged])]) == 1
    assert "it is not that key's signature of this payload" in capsys.readouterr().out


@pytest.mark.parametrize("content", [{}, [{"id": "x"}], "text", [7]])
def test_file_of_another_form_is_refused(
    content: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["signatures", "check", _file(tmp_path, content)]) == 2
    assert "is not a JSON array of" in capsys.readouterr().err


def test_missing_file_and_key_that_is_none_are_refused(tmp_path: Path) -> None:
    assert main(["signatures", "check", str(tmp_path / "none.json")]) == 2
    file = _file(tmp_path, [])
    assert main(["signatures", "check", "--key", file, file]) == 2


def test_signatures_check_of_empty_array_is_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "messages.json").write_text("[]")
    assert main(["signatures", "check", str(tmp_path / "messages.json")]) != 0
    assert "nothing was checked" in capsys.readouterr().err
