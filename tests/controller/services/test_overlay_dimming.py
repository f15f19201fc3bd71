"""A grid operator's signed command on its way through the overlay network."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from controller.config.schema import OverlayConfig
from tests.controller.services.overlay.test_overlay_service import receive_message
from tests.controller.services.test_app import running
from tests.scenario.dimmed_daemon import configure, make_command
from tests.scenario.link_harness import serve_csms


async def test_signed_command_over_overlay_is_applied_and_answered(tmp_path: Path) -> None:
    async with serve_csms() as peer:
        plain = configure(tmp_path, peer)
        above = msgspec.structs.replace(plain.backend[0], mode="overlay", node="CSMS")
        config = msgspec.structs.replace(plain, backend=(above,), overlay=OverlayConfig(learn="all"))
        async with running(config) as controller:
            link = await peer.accept()
            boot = await receive_message(link, "BootNotification")
            accepted = {"status": "Accepted", "interval": 300, "currentTime": "2026-11-21T12:00:00Z"}
            await link.send_message(json.dumps([3, "lc", "CSMS", boot[3], accepted]))
            received = {
                "vendorId": "org.local-controller",
                "messageId": "dim",
                "data": json.loads(make_command()),
            }
            await link.send_message(json.dumps([2, "lc", "CSMS", "d1", "DataTransfer", received]))
            answer = await receive_message(link, '"d1"')
            assert (answer[0], answer[1]) == (3, "CSMS")
            assert answer[4]["status"] == "Accepted"
            assert answer[4]["data"]["signatures"]
            dimming = controller.status().dimming
            assert dimming is not None
            assert dimming.limit_w == json.loads(make_command())["limitW"]
