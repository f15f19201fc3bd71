"""The page in headless Chromium: clicks, accessibility by axe-core, no error, no foreign request."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import trio

from controller.web.web_routes import WebRoutes
from controller.web.web_server import WebSettings, serve_web
from tests.controller.web.fake_site import FakeAccess, FakeSite
from tests.controller.web.large_site import site_of, site_with
from tests.interop.changing_site import ChangingAccess, ChangingSite
from tests.interop.programs import PATIENCE_S

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
"""The program: the environment's, else the system's."""
SCRIPT = Path(__file__).parent / "browse_page.mjs"
FOLLOW = Path(__file__).parent / "follow_page.mjs"
WALK = Path(__file__).parent / "walk_page.mjs"
PACKAGES = Path(__file__).parent / "node_modules"


async def browse(folder: Path, site: FakeSite, width: int, language: str, scheme: str) -> dict[str, Any]:
    """Click through the page of a site; return what the script reports."""
    return await run_script(site, SCRIPT, str(folder), str(width), language, scheme)


async def run_script(
    site: FakeSite, script: Path, *arguments: str, access: FakeAccess | None = None
) -> dict[str, Any]:
    """Run a script with the address of the page of a site; return what it reports."""
    assert CHROMIUM is not None, "install chromium: the page is tested in it"
    for name in ("puppeteer-core", "axe-core"):
        assert (PACKAGES / name).is_dir(), f"{name} is not installed: run npm ci --prefix tests/interop"
    routes = WebRoutes(site, access or FakeAccess(), version="1.2.3")
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve_web, WebSettings("127.0.0.1", 0), routes)
        with trio.fail_after(PATIENCE_S):
            done = await trio.run_process(
                ["node", str(script), f"http://127.0.0.1:{port}/", *arguments],
                capture_stdout=True,
                env={**os.environ, "CHROMIUM": CHROMIUM},
            )
        nursery.cancel_scope.cancel()
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("stations", "faulty", "width", "language", "scheme"),
    [
        (3, False, 390, "de", "light"),
        (13, True, 1280, "en", "dark"),
        (200, True, 390, "en", "dark"),
        (200, False, 1280, "de", "light"),
    ],
)
async def test_page_in_chromium_is_clean(
    tmp_path: Path, stations: int, faulty: bool, width: int, language: str, scheme: str
) -> None:
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path))
    site = FakeSite(lambda: site_of(stations, faulty=faulty))
    found = await browse(folder, site, width, language, scheme)
    assert found["problems"] == []
    assert found["foreign"] == []
    assert found["accessibility"] == []
    assert found["wide"] == []
    assert found["broken"] == []
    assert found["english"] == []
    assert found["views"] == 10
    assert ("Auto getrennt" if language == "de" else "car disconnected") in found["shown"]["sessions"]
    uncertain = "können falsch sein" if language == "de" else "may be wrong"
    assert uncertain in found["shown"]["sessions"]
    assert " *" in found["shown"]["sessions"]
    assert found["found"] == 1
    assert found["shown"]["circuits"].count("Strich: Grenze" if language == "de" else "Line: the limit") == 1
    overview = found["shown"]["overview"]
    assert overview.index("Alarme" if language == "de" else "Alarms") < overview.index("tenant-a")
    if faulty and stations == 200:  # a fault is seen without unfolding its circuit
        assert re.search(r"row-1: 50, \d+ away, \d+ with a fault", found["shown"]["stations"])
    assert "11" in found["verified"]
    assert found["exported"] == '{"number": 0}\n'
    assert [("04AABBCC" in each) for each in found["messages"]] == [False, True]
    assert "warning" in found["sign"] if faulty else "fine" in found["sign"]
    assert found["focus"] != "BODY"
    [(command, actor)] = site.executed
    assert (command.name, actor.name) == ("station.pause", "administrator")


@pytest.mark.parametrize(
    ("fault", "width", "language", "scheme", "view", "shown"),
    [
        ("contacts", 390, "de", "dark", "dimming", "Angenommen, nicht angeordnet (dso: ihre Kontakte lassen"),
        (
            "meter",
            1280,
            "de",
            "dark",
            "overview",
            "10.0.0.5:502 lehnt die Verbindung ab: dort ist kein Dienst",
        ),
        ("sign", 390, "de", "light", "circuits", "L1, L2 und L3 folgen nicht der Station CS001/1"),
        (
            "sign",
            1280,
            "de",
            "light",
            "meters",
            "unplausibel\nL1, L2 und L3 folgen nicht der Station CS001/1",
        ),
        ("hidden", 390, "de", "dark", "circuits", "noch kein Strom auf L1, L2 und L3, obwohl ein Auto lädt"),
        ("space", 390, "de", "light", "overview", "dem Datenträger des Speichers sind 90 MB frei"),
        ("clock", 390, "de", "light", "overview", "chrony stellt die Uhr nicht"),
        ("passing", 390, "de", "light", "sign", "Zurzeit über der Grenze: grid. Zurzeit ohne Antwort: "),
        ("fallback", 1280, "de", "dark", "stations", "bleibt auf dem Rückfallwert"),
        ("lowered", 390, "de", "light", "circuits", "90,5 / 90,5 / 90,5 A, gesenkt vom Kalender"),
        ("disk", 1280, "de", "light", "overview", "nicht benutzbar: Datenbank oder Datenträger ist voll"),
        ("backend", 1280, "de", "light", "backends", "nicht verbunden"),
    ],
)
async def test_page_in_chromium_shows_fault(
    tmp_path: Path, fault: str, width: int, language: str, scheme: str, view: str, shown: str
) -> None:
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path)) / fault
    folder.mkdir(exist_ok=True)
    found = await browse(folder, FakeSite(lambda: site_with(fault, 3)), width, language, scheme)
    assert (found["problems"], found["accessibility"], found["wide"], found["english"]) == ([], [], [], [])
    assert found["broken"] == []
    assert ("fine" in found["sign"]) == (fault == "lowered")
    assert shown in found["shown"][view]
    if fault == "meter":
        assert "Gebäude\n22,0 / 26,0 / 19,0 A (angenommen)" in found["shown"]["overview"]


@pytest.mark.parametrize("width", [390, 1280])
async def test_page_in_chromium_is_operated_by_keyboard_alone(width: int) -> None:
    site = FakeSite(lambda: site_of(3, faulty=True))
    found = await run_script(site, WALK, str(width))
    assert found["unreached"] == []
    assert found["invisible"] == []
    assert found["trapped"] == []
    assert found["views"] == 10
    assert min(found["stops"].values()) >= 6
    [(command, _)] = site.executed
    assert command.name == "station.prioritize"


async def test_page_in_chromium_lists_follow_the_live_stream() -> None:
    site = ChangingSite()
    found = await run_script(site, FOLLOW, access=ChangingAccess(site))
    assert found["problems"] == []
    assert found["keptRow"] is True
    assert found["actor"] == "anna (page)"
    assert found["month"] == ["2026-10", "month"]
    assert found["history"] == {"kept": True, "open": True, "focus": "SELECT", "scrolled": True}
    assert min(found["labels"]) >= 11
    assert found["axis"]
    assert set(found["axis"]) <= {"12:00 AM", "6:00 AM", "12:00 PM", "6:00 PM"}, "by the clock of the site"
    assert found["form"] == ["decimal", found["typed"]]
    reason = "The file on disk differs from the running configuration: it was changed on the gateway."
    assert found["notInUse"] == [[reason, "Read the file again"]]
    assert found["inUse"] == []
    assert found["drafts"] == [[["draft 0"], ["draft 1"]], [["draft 1"]]]
    assert found["focusWritten"] is True
    assert found["editor"].startswith("# version 4")
    assert found["editor"].endswith("# mine")
    assert found["roles"] == ["viewer", "operator", "administrator", "meter-reader"]
    assert 1 <= found["requested"] <= 3, "ten changes at once"
