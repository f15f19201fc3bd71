"""README and docs: every command line parses, every configuration in them is valid, every link exists."""

from __future__ import annotations

import argparse
import importlib.util
import inspect
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from controller.cli.arguments import OK
from controller.cli.main import build_parser
from controller.config import manual_page, reference, schema
from controller.config.loader import check_config
from controller.signing.policy_file import check_policy
from drivers.meter_model import find_mistakes

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PREFIXES = re.compile(r"^(sudo )?(-u [a-z-]+ )?")


def blocks(kind: str) -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for index, match in enumerate(re.finditer(rf"^```{kind}\n(.*?)^```", page.read_text(), re.M | re.S)):
            yield f"{page.name}-{index}", match[1]


def commands() -> Iterator[tuple[str, str]]:
    """All command lines, of code blocks and inline."""
    for name, block in blocks("sh"):
        for line in block.replace("\\\n", " ").splitlines():
            if line.strip() and not line.startswith("#"):
                yield name, line
    for page in PAGES:
        prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
        for match in re.finditer(r"`((?:make|python -m|local-controller [a-z]+ -) ?[^`]*)`", prose):
            yield page.name, match[1]


def check_command(words: list[str]) -> None:
    """Fail for a command of the project that does not exist; others are taken on trust."""
    if words[:1] == ["local-controller"]:
        build_parser().parse_args(words[1:])
    elif words[:1] == ["make"]:
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
        named = [
            word
            for index, word in enumerate(words[1:], 1)
            if not word.startswith("-") and words[index - 1] != "-C"
        ]
        assert set(named) <= set(targets), words
    elif words[:2] == ["python", "-m"]:
        assert importlib.util.find_spec(words[2]) is not None, words


@pytest.mark.parametrize(("page", "line"), list(commands()))
def test_docs_command_is_understood(
    page: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    for part in re.split(r"&&|\||>", line.partition(" #")[0]):
        check_command(shlex.split(PREFIXES.sub("", part.strip())))


@pytest.mark.parametrize(("page", "text"), list(blocks("toml")))
def test_docs_toml_block_is_valid(page: str, text: str, tmp_path: Path) -> None:
    if page.startswith("meter-models.md"):
        errors = list(find_mistakes(tomllib.loads(text)))
    elif text.startswith("version"):
        _, errors = check_policy(text, page, tmp_path)
    else:
        site = "" if "[site]" in text else '[site]\nid = "lc"\n'
        config, errors, _ = check_config(site + text, page)
        assert config is not None or errors
    assert errors == []


@pytest.mark.parametrize(("page", "text"), list(blocks("json")))
def test_docs_json_block_is_valid(page: str, text: str) -> None:
    json.loads(text)


def test_docs_subcommand_example_lists_circuits(capsys: pytest.CaptureFixture[str]) -> None:
    [(_, text)] = blocks("python")
    module: dict[str, Any] = {}
    exec(compile(text, "adding.md", "exec"), module)
    parser = argparse.ArgumentParser()
    module["add_parser"](parser.add_subparsers())
    options = parser.parse_args(["circuits", "-c", str(ROOT / "etc/controller.toml")])
    assert options.run(options) == OK
    assert capsys.readouterr().out.startswith("grid ")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_docs_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_docs_files_are_found() -> None:
    assert len(list(commands())) > 20
    assert len(list(blocks("toml"))) >= 6


def test_configuration_reference_is_rendered_from_schema() -> None:
    assert (ROOT / "docs" / "configuration.md").read_text() == reference.render_reference()


def test_manual_page_of_configuration_is_rendered_from_schema() -> None:
    page = manual_page.render_manual_page("1.2-3")
    read = page.replace("\\-", "-").replace("\\fB", "").replace("\\fR", "").replace("\\&", "")
    rows: list[str] = []
    for line in reference.render_reference().splitlines():
        if line.startswith("## "):
            rows.append(f'.SS "{line[3:].strip("`")}"')
        elif cells := re.match(r"\| `(\w+)` \| (.+?) \|", line):
            rows.append(f".B {cells[1]}")
            assert cells[2].replace("\\|", "|") in read, f"type of {cells[1]}"
    headings = [line for line in read.splitlines() if re.match(r"\.SS |\.B [a-z_]+$", line)]
    assert len(rows) > 200
    assert headings == rows


def test_manual_page_has_no_unknown_request_and_no_bare_hyphen() -> None:
    lines = manual_page.render_manual_page("1.2-3").splitlines()
    macros = {"TH", "SH", "SS", "TP", "PP", "B", "I", "BR", "RB", "nf", "fi", "br"}
    assert {line[1:].split()[0] for line in lines if line.startswith(".")} <= macros
    assert not [line for line in lines if line.startswith("'") or re.search(r"(?<!\\)-", line)]
    assert not [line for line in lines if re.search(r"\\(?!-|fB|fR|fI|fP|&|e)", line)]


def test_manual_page_example_is_a_valid_configuration() -> None:
    config, errors, _ = check_config(manual_page.EXAMPLE, "local-controller.toml(5)")
    assert config is not None
    assert errors == []


def test_docs_readme_fits_one_and_half_screens() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 100


def tables_of_schema() -> Iterator[type[msgspec.Struct]]:
    return (
        kind for kind in vars(schema).values() if inspect.isclass(kind) and kind.__name__.endswith("Config")
    )


@pytest.mark.parametrize("table", list(tables_of_schema()), ids=lambda table: table.__name__)
def test_docs_schema_key_has_description(table: type[msgspec.Struct]) -> None:
    texts = reference.key_descriptions(table)
    tables = {"Config": set(texts)}
    assert [
        key for key, text in texts.items() if not text and key not in tables.get(table.__name__, ())
    ] == []


def test_readme_installs_the_packages_of_ci() -> None:
    script = (ROOT / ".ci/run").read_text()
    of_ubuntu = script.partition("= ubuntu ]; then\n")[2].partition("else\n")[0]
    needed = {
        *re.findall(r"^ *need \S+ (\S+)$", script.replace(of_ubuntu, ""), re.M),
        *re.findall(r"missing\+=\(([a-z][a-z0-9-]+)\)", script.replace(of_ubuntu, "")),
    }
    for each in re.findall(r"need \S+ (\S+)$|missing\+=\(([a-z0-9]+)\)", of_ubuntu, re.M):
        assert f"`{''.join(each)}`" in (ROOT / "README.md").read_text(), "packages of Ubuntu alone"
    [line] = [text for _, text in commands() if text.startswith("sudo apt install git")]
    assert needed | {"git"} == {*line.split()[3:]} - {"nodejs"} | ({"nodejs"} & needed)
