"""Render the man page local-controller.toml(5) from the schema: every key with type, default and example.

Run as `python -m controller.config.manual_page VERSION`; the package is built with it.
"""

from __future__ import annotations

import re
import sys

from controller.config.reference import REQUIRED, ReferenceKey, ReferenceTable, reference_tables

_CODE = re.compile(r"`([^`]+)`")

EXAMPLE = """[site]
id = "depot-01"

[local_csms]
authorization = "free"

[[circuit]]
id = "grid"
limit_a = 63
base_load_a = 20

[[station]]
id = "CS01"
circuit = "grid"
"""
"""A whole configuration: one station behind a fuse of 63 A, of which the building takes up to 20 A."""

_BEGIN = """.SH NAME
local\\-controller.toml \\- configuration of local\\-controller
.SH SYNOPSIS
.I /etc/local\\-controller/controller.toml
.SH DESCRIPTION
One TOML file, checked as a whole:
.B local\\-controller check
prints every error with its line and remedy,
.B local\\-controller setup
writes the file by questions, and
.B systemctl reload local\\-controller
applies a changed one.
.PP
Units are in the names of the keys: _a ampere per phase, _w watt, _s second. Names of files are relative to
the directory of the file. Secrets are in files of their own, which not everybody on the machine may read
.RB ( "chmod o= \\fIFILE\\fP" ).
.PP
[table] is written once, [[table]] once for each. A key is optional unless it is marked as required.
"""
_END = """.SH FILES
.TP
.I /etc/local\\-controller/controller.toml
The configuration of the packaged service.
.TP
.I /usr/share/doc/local\\-controller/examples
Configurations of whole sites, and one with every key.
.TP
.I /usr/share/doc/local\\-controller/docs
Guides, from the first hour to the load management.
.SH SEE ALSO
.BR local\\-controller (1),
.BR systemd.service (5)
"""


def render_manual_page(version: str) -> str:
    """Return the page as roff source; `version`: of the product."""
    head = f'.TH LOCAL\\-CONTROLLER.TOML 5 "" "local\\-controller {_escape(version)}" "local\\-controller"\n'
    example = f".SH EXAMPLE\n.nf\n{_lines(EXAMPLE)}.fi\n"
    tables = "".join(map(_render_table, reference_tables()))
    return f"{head}{_BEGIN}{example}.SH TABLES\n{tables}{_END}"


def _render_table(table: ReferenceTable) -> str:
    return f'.SS "{_escape(table.heading)}"\n{_lines(table.text)}{"".join(map(_render_key, table.keys))}'


def _render_key(key: ReferenceKey) -> str:
    facts = [key.kind]
    if key.default == REQUIRED:
        facts.append(REQUIRED)
    elif key.default:
        facts.append(f"default `{key.default}`")
    if key.example:
        facts.append(f"e.g. `{key.example}`")
    return f".TP\n.B {_escape(key.name)}\n{_lines(key.text)}.br\n{_lines('; '.join(facts))}"


def _lines(text: str) -> str:
    """Return text as roff lines, each ended: `code` in bold, and no line that begins a request."""
    marked = _CODE.sub(r"\\fB\1\\fR", text.strip("\n").replace("\\", "\\e").replace("-", r"\-"))
    return "".join(f"{_guard(line)}\n" for line in marked.split("\n"))


def _guard(line: str) -> str:
    return rf"\&{line}" if line.startswith((".", "'")) else line


def _escape(text: str) -> str:
    return text.replace("\\", "\\e").replace("-", r"\-")


if __name__ == "__main__":
    sys.stdout.write(render_manual_page(sys.argv[1]))
