"""`debian/audit`: components in the advisories of an index, and indexes that cannot answer."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

AUDIT = Path(__file__).parents[2] / "debian" / "audit"
LOCK = """
attrs==26.1.0 \\
    --hash=sha256:c6
h11==0.16.0 ; python_version < '4' \\
    --hash=sha256:63
"""
ADVISORY = {
    "id": "PYSEC-2026-1",
    "aliases": ["CVE-2026-1"],
    "fixed_in": ["26.1.1"],
    "link": "https://a.example",
}


def release(version: str, *advisories: dict[str, Any]) -> dict[str, Any]:
    return {"info": {"version": version}, "vulnerabilities": list(advisories)}


ANSWERS = {
    "/pycrypto/2.6.1/json": release("2.6.1", ADVISORY),
    "/attrs/26.1.0/json": release("26.1.0"),
    "/h11/0.16.0/json": release("0.16.0"),
}


@contextmanager
def index(answers: dict[str, Any]) -> Iterator[str]:
    """Serve answers by path, 404 for all others; yield the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = answers.get(self.path)
            self.send_response(404 if found is None else 200)
            self.end_headers()
            self.wfile.write(json.dumps(found).encode())

        def log_message(self, format: str, *args: object) -> None:
            """Write nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def audit(folder: Path, answers: dict[str, Any]) -> tuple[int, str, str]:
    """Run the audit of two components; return its status, output and errors."""
    lock = folder / "requirements.lock"
    lock.write_text(LOCK)
    with index(answers) as url:
        done = subprocess.run(
            [sys.executable, "-IS", AUDIT, lock, url], capture_output=True, text=True, check=False
        )
    return done.returncode, done.stdout, done.stderr


def test_audit_components_without_advisory_are_counted(tmp_path: Path) -> None:
    expected = "audit: 2 of 2 components looked up, 0 with an advisory\n"
    assert audit(tmp_path, ANSWERS) == (0, expected, "")


def test_audit_advisory_is_named_with_its_fix_and_fails(tmp_path: Path) -> None:
    withdrawn = ADVISORY | {"id": "PYSEC-2026-2", "withdrawn": "2026-11-01T00:00:00Z"}
    status, out, _ = audit(tmp_path, ANSWERS | {"/attrs/26.1.0/json": release("26.1.0", ADVISORY, withdrawn)})
    assert status == 1
    assert out == (
        "attrs 26.1.0: PYSEC-2026-1, CVE-2026-1; fixed in 26.1.1; https://a.example\n"
        "audit: 2 of 2 components looked up, 1 with an advisory\n"
    )


def test_audit_index_of_newest_releases_serves_those_alone(tmp_path: Path) -> None:
    answers = {
        "/pycrypto/json": release("2.6.1", ADVISORY),
        "/attrs/json": release("26.1.0"),
        "/h11/json": release("0.17.0"),
    }
    status, out, errors = audit(tmp_path, answers)
    assert status == 2
    assert out == "audit: 1 of 2 components looked up, 0 with an advisory\n"
    assert (
        "h11 0.16.0: not looked up: the index has no answer for a release that is not the newest (0.17.0)"
        in errors
    )
    assert "audit: NOT COMPLETE: 1 not looked up" in errors
    assert "`make lock` takes the newest versions" in errors


def test_audit_index_without_advisories_proves_nothing(tmp_path: Path) -> None:
    status, out, errors = audit(tmp_path, ANSWERS | {"/pycrypto/2.6.1/json": release("2.6.1")})
    assert (status, out) == (2, "")
    assert "it has no advisory for pycrypto 2.6.1, which has some: its answers prove nothing" in errors
    bare = ANSWERS | {"/h11/0.16.0/json": {"info": {"version": "0.16.0"}}}
    status, _, errors = audit(tmp_path, bare)
    assert status == 2
    assert "h11 0.16.0: not looked up: the answer of the index has no advisories" in errors


def test_audit_without_index_is_not_done(tmp_path: Path) -> None:
    status, out, errors = audit(tmp_path, {})
    assert (status, out) == (2, "")
    assert "audit: NOT DONE: http://127.0.0.1:" in errors
    assert "the index does not have it" in errors
    lock = tmp_path / "requirements.lock"
    with index({}) as url:
        pass
    done = subprocess.run(
        [sys.executable, "-IS", AUDIT, lock, url], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "the index cannot be read" in done.stderr
