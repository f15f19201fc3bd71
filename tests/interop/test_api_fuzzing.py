"""Schemathesis holds the REST API of a running controller to its OpenAPI document."""

from __future__ import annotations

import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import trio

from controller.access.access_records import TokenStored
from controller.access.passwords import hash_secret
from controller.services import app
from controller.services.configuration.configuration import open_configuration
from controller.store.state_store import StateStore
from controller.web import web_routes

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
SECRET = "secret-of-the-administrator"
SITE = """
[site]
id = "home"
[store]
directory = "store"
[listen]
host = "127.0.0.1"
port = 0
[web]
port = 0
[[circuit]]
id = "house"
limit_a = 40
[[card]]
token = "A"
label = "Anna"
[[station]]
id = "CS01"
circuit = "house"
"""
EXAMPLES = "5"
"""Random requests to each operation, beside those that cover its schema."""
MOST_PRINTED = 20_000
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
)
"""All but positive_data_acceptance: a command that fits the schema can still name an unknown station."""


SETTINGS = """
[checks]
negative_data_rejection.expected-statuses = ["4xx"]
"""
"""A body that is too long is rejected, too: 413 is not among the usual statuses of that check."""


async def test_api_keeps_its_openapi_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_routes, "REQUESTS_PER_S", 1e6)
    monkeypatch.setattr(web_routes, "REQUEST_BURST", 1_000_000)
    file = tmp_path / "controller.toml"
    file.write_text(SITE)
    (tmp_path / "schemathesis.toml").write_text(SETTINGS)
    store = StateStore(tmp_path / "store")
    store.persist_now([TokenStored("program", hash_secret(SECRET), ("*:*",), time.time())])
    store.close()
    active = open_configuration(file)
    async with trio.open_nursery() as nursery:
        controller = await nursery.start(partial(app.run, active.config, active=active))
        done = await trio.run_process(
            [
                str(SCHEMATHESIS),
                "run",
                f"http://127.0.0.1:{controller.web_port}/api/v1/openapi.json",
                *("--header", f"Authorization: Bearer {SECRET}"),
                *("--phases", "coverage,fuzzing"),
                *("--checks", ",".join(CHECKS)),
                *("--max-examples", EXAMPLES),
                *("--seed", "1"),
                *("--generation-database", "none"),
                *("--suppress-health-check", "all"),
                "--continue-on-failure",
                "--no-color",
            ],
            cwd=tmp_path,
            check=False,
            capture_stdout=True,
            stderr=subprocess.STDOUT,
        )
        nursery.cancel_scope.cancel()
    assert done.returncode == 0, done.stdout.decode()[-MOST_PRINTED:]
