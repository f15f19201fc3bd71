"""mDNS TXT record and QR text of a SHIP node."""

from __future__ import annotations

import re

import pytest

from drivers.eebus.announcement import Announcement, read_txt
from drivers.eebus.array_json import EebusError

SKI = "0123456789abcdef0123456789abcdef01234567"
OURS = Announcement(
    ski=SKI, ship_id="Vendor-EMS-0123", brand="Vendor", model="EMS", type="EnergyManagementSystem", serial="1"
)


def test_announcement_tc_ship_mdns_001_txt_record_has_mandatory_keys() -> None:
    long = "ü" * 100
    for register in (False, True):
        announcement = Announcement(
            ski=SKI, ship_id=long, brand=long, model=long, type=long, serial=long, register=register
        )
        txt = announcement.txt()
        assert txt["txtvers"] == "1"
        assert 0 < len(txt["id"].encode()) <= 63
        assert "/" in txt["path"]
        assert len(txt["path"].encode()) <= 32
        assert re.fullmatch(r"[0-9a-f]{40}", txt["ski"])
        assert txt["register"] == ("true" if register else "false")
        assert re.fullmatch(r"\d+(,\d+)*", txt["cat"])
        assert all(len(txt[key].encode()) <= 32 for key in ("brand", "model", "type"))


def test_txt_record_is_read_back() -> None:
    assert read_txt(OURS.txt()) == OURS


@pytest.mark.parametrize("key", ["txtvers", "id", "path", "ski", "register"])
def test_announcement_txt_record_without_mandatory_key_is_ignored(key: str) -> None:
    txt = OURS.txt()
    del txt[key]
    with pytest.raises(EebusError):
        read_txt(txt)


@pytest.mark.parametrize(
    ("key", "value"), [("txtvers", "2"), ("txtvers", "1.0"), ("ski", "12"), ("path", "ship")]
)
def test_announcement_txt_record_with_invalid_value_is_ignored(key: str, value: str) -> None:
    with pytest.raises(EebusError):
        read_txt(OURS.txt() | {key: value})


def test_announcement_qr_text_names_node() -> None:
    announcement = Announcement(ski=SKI, ship_id="A;B", brand="C\\D", model="EMS")
    assert announcement.qr_text() == f"SHIP;SKI:{SKI};ID:A\\;B;BRAND:C\\\\D;MODEL:EMS;ENDSHIP;"
