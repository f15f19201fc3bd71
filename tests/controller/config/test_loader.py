"""`check`: every mistake at its line, in words that remedy it; and what a good file reads as.

In `files/broken/`, the mark `#! words` stands on the line that a mistake is expected at, and
`#! <- 5 words` stands for one at line 5. Each file has the mistakes that are marked and no other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, get_args, get_origin, get_type_hints

import msgspec
import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from controller.config import Config, MeterConfig
from controller.config import schema as config_module
from controller.config.loader import InvalidConfigError, check_config, read_config
from controller.tomlcheck.diagnostics import (
    Diagnostic,
    ErrorDiagnostic,
    FileUnreadableError,
    render_diagnostics,
)
from controller.tomlcheck.key_types import alternatives
from drivers.input_modules import list_input_modules
from drivers.meter_model import list_models
from drivers.settings import MeterSettings

CONFIGS = Path(__file__).parent / "files"
BROKEN = sorted((CONFIGS / "broken").glob("*.toml"))
DEPOT = (CONFIGS / "depot.toml").read_text()
FOR_INSTALLERS = Path(__file__).parents[3] / "etc" / "controller.toml"

GOOD = """
[site]
id = "lc"
[[backend]]
id = "cpo"
url = "wss://csms.internal/{station}"
[[circuit]]
id = "grid"
limit_a = 100
[[station]]
id = "CS01"
circuit = "grid"
owner = "cpo"
"""


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_loader_each_error_is_found_at_its_line_alone(path: Path) -> None:
    text = path.read_text()
    config, mistakes, _ = check_config(text, path.name)
    expected = list(marks(text))
    assert expected
    found = [(mistake.line, words(mistake)) for mistake in mistakes]
    for line, message in found:
        mark = next((mark for mark in expected if mark[0] == line and mark[1] in message), None)
        assert mark is not None, f"not expected: {line}: {message}"
        expected.remove(mark)
    assert expected == []
    assert [line for line, _ in found] == sorted(line for line, _ in found)
    assert config is None


def marks(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        for mark in line.split("#!")[1:]:
            elsewhere = re.match(r" <- (\d+) (.*)", mark)
            yield (int(elsewhere[1]), elsewhere[2]) if elsewhere else (number, mark.strip())


def words(remark: Diagnostic) -> str:
    return f"{remark.key}: {remark.what}; {remark.remedy}"


def test_loader_error_names_file_line_key_and_remedy() -> None:
    mistake = ErrorDiagnostic(file="a.toml", line=3, key="listen.port", what="is wrong", remedy="right it")
    assert str(mistake) == "a.toml:3: listen.port: is wrong; right it"


# -- good files ----------------------------------------------------------------------------------------


def test_loader_missing_key_has_its_default() -> None:
    config, mistakes, notes = check_config(GOOD, "good.toml")
    assert (mistakes, notes) == ([], [])
    assert config is not None
    assert (config.listen.port, config.listen.path) == (8887, "/ocpp")
    assert config.listen.protocols == ("ocpp2.1", "ocpp2.0.1", "ocpp1.6")
    assert config.load_management.lease_s == 300
    (evse,) = config.station[0].evse
    assert (evse.id, evse.phases, evse.max_a) == (1, ("L1", "L2", "L3"), 32)
    assert config.circuit[0].limits_a == (100, 100, 100)


def test_loader_depots_unused_meter_is_only_error() -> None:
    _, mistakes, _ = check_config(DEPOT, "depot.toml")
    (mistake,) = mistakes
    assert mistake.line == DEPOT.splitlines().index('id = "building"') + 1
    assert 'no circuit uses meter "building"' in mistake.what


def test_loader_depot_is_valid_once_meter_is_used() -> None:
    config, mistakes, notes = check_config(
        DEPOT.replace("limit_a = 63", 'limit_a = 63\nmeter = "building"'), "depot.toml"
    )
    assert mistakes == []
    assert config is not None
    assert config.station[0].evse[0].phases == ("L2", "L3", "L1")
    assert config.dimming is not None
    assert config.dimming.source[0].role == "grid-operator"
    assert [note.key for note in notes if "placeholder" not in note.what] == [
        'circuit "grid" base_load_a',
        'dimming.source "dso" kind',
    ]


def test_loader_odd_value_has_a_hint() -> None:
    text = GOOD.replace('{station}"', '{station}"\npriority = 1')
    text = text.replace(
        "limit_a = 100", 'limit_a = 100\n[[circuit]]\nid = "row"\nparent = "grid"\nlimit_a = 120'
    )
    text += "[[station.evse]]\nsteuve = true\n"
    config, mistakes, notes = check_config(text, "odd.toml")
    assert config is not None
    assert mistakes == []
    assert [note.key for note in notes] == [
        'backend "cpo" priority',
        'circuit "row" id',
        'circuit "row" limit_a',
        'station "CS01" evse[0].steuve',
    ]


def test_loader_value_at_its_bound_is_accepted() -> None:
    text = GOOD.replace("limit_a = 100", 'limit_a = 6\nmargin_a = 0\nbase_load_a = 0\nmeter = "m"')
    text += "[[station.evse]]\nmin_a = 6\nmax_a = 6\nfallback_a = 6\n"
    text += '[[circuit]]\nid = "row"\nparent = "grid"\nlimit_a = 6\nmargin_a = 0\nmeter = "r"\n'
    text += '[[meter]]\nid = "r"\ndriver = "abb-b23"\ntransport = "rtu"\ndevice = "/dev/x"\nunit = 2\n'
    text += '[[meter]]\nid = "m"\ndriver = "abb-b23"\ntransport = "rtu"\ndevice = "/dev/x"\nunit = 1\n'
    assert check_config(text, "edge.toml")[1:] == ([], [])


def test_loader_example_for_installers_has_hints_at_its_placeholders_alone() -> None:
    _, notes = read_config(FOR_INSTALLERS)
    assert [note.what for note in notes if "is a placeholder of an example" not in note.what] == []


def test_loader_example_for_installers_shows_every_key_and_every_driver() -> None:
    text = FOR_INSTALLERS.read_text()
    kinds = [
        kind
        for kind in vars(config_module).values()
        if isinstance(kind, type)
        and issubclass(kind, msgspec.Struct)
        and kind.__module__ == Config.__module__
    ]
    for kind in kinds:
        for key in kind.__struct_fields__:
            assert re.search(rf"^(# )?({key} = |\[+([a-z]+\.)?{key}\])", text, re.MULTILINE), key
    drivers = re.findall(r"^(?:# )?driver = .([a-z0-9-]+)", text, re.MULTILINE)
    assert {*drivers} <= {*list_models(), *list_input_modules(), "virtual"}


UNITS = {
    "_s": "s",
    "_w": "W",
    "_a": "A",
    "_kw": "kW",
    "_kwh": "kWh",
    "_kva": "kVA",
    "_days": "days",
    "_months": "months",
}


def numeric_keys() -> Iterator[tuple[str, Meta]]:
    """Return every numeric key of the schema with the bounds of its first alternative."""
    for kind in vars(config_module).values():
        if (
            isinstance(kind, type)
            and issubclass(kind, msgspec.Struct)
            and kind.__module__ == Config.__module__
        ):
            for key, hint in get_type_hints(kind, include_extras=True).items():
                for each in alternatives(hint):
                    base, *meta = get_args(each) if get_origin(each) is Annotated else (each,)
                    if base in (int, float):
                        yield f"{kind.__name__}.{key}", meta[0] if meta else Meta()


@pytest.mark.parametrize(("key", "meta"), sorted(numeric_keys(), key=lambda each: each[0]))
def test_schema_number_has_bounds_and_unit(key: str, meta: Meta) -> None:
    assert meta.ge is not None or meta.gt is not None
    assert meta.le is not None
    expected = next((unit for suffix, unit in UNITS.items() if key.endswith(suffix)), None)
    if key == "SiteConfig.voltage":
        expected = "V"
    assert (meta.extra or {}).get("unit") == expected


def test_loader_commented_keys_of_the_example_are_accepted() -> None:
    text = re.sub(r"^# (\[|[a-z_0-9]+ = )", r"\1", FOR_INSTALLERS.read_text(), flags=re.MULTILINE)
    _, mistakes, _ = check_config(text, "etc.toml")
    assert [str(mistake) for mistake in mistakes] == []


@pytest.mark.parametrize(
    ("message", "settings"),
    [
        ({"transport": "tcp", "host": "h"}, {"host": "h", "port": 502}),
        ({"transport": "tls", "host": "h"}, {"host": "h", "port": 802}),
        ({"transport": "rtu", "device": "/dev/x", "baud": 19200}, {"device": "/dev/x", "baud": 19200}),
        (
            {"transport": "rtu-over-tcp", "host": "h", "port": 9, "invert": True},
            {"host": "h", "port": 9, "invert": True},
        ),
    ],
)
def test_loader_meter_becomes_driver_settings(
    message: dict[str, object], settings: dict[str, object]
) -> None:
    meter = msgspec.convert({"id": "m", "driver": "abb-b23", "unit": 7} | message, MeterConfig)
    expected = {"id": "m", "driver": "abb-b23", "unit": 7, "transport": message["transport"]} | settings
    assert meter.settings() == msgspec.convert(expected, MeterSettings)


# -- files ---------------------------------------------------------------------------------------------


def test_loader_files_are_looked_for_beside_configuration(tmp_path: Path) -> None:
    secret(tmp_path / "CS01", "a long password\n")
    path = written(tmp_path, GOOD + 'password_file = "CS01"')
    config, _ = read_config(path)
    assert config.station[0].password_file == str(tmp_path / "CS01")


def test_loader_store_is_beside_configuration_too(tmp_path: Path) -> None:
    config, _ = read_config(written(tmp_path, GOOD + '[store]\ndirectory = "store"\n'))
    assert config.store.directory == str(tmp_path / "store")
    config, _ = read_config(written(tmp_path, GOOD))
    assert config.store.directory == "/var/lib/local-controller"


@pytest.mark.parametrize(
    ("web", "listen", "wrong"),
    [
        ("127.0.0.1", "0.0.0.0", True),
        ("::", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "192.0.2.1", False),
    ],
)
def test_loader_two_addresses_may_share_port(web: str, listen: str, wrong: bool) -> None:
    text = GOOD + f'[web]\nhost = "{web}"\nport = 8887\n[listen]\nhost = "{listen}"\n'
    assert [mistake.key for mistake in check_config(text, "c.toml")[1]] == ["web.port"] * wrong


@pytest.mark.parametrize(
    ("mode", "content", "what", "remedy"),
    [
        (0o604, "secret", "is readable by everybody on this machine", "chmod o= "),
        (0o600, "\n", "is empty", "write its content"),
        (
            0o600,
            "$scrypt$ln=14",
            'is not a complete hash "$scrypt$ln=12,r=8,p=1$SALT$HASH"',
            "local-controller password",
        ),
        (None, "", "cannot be read: No such file or directory", "create it"),
    ],
)
def test_invalid_secret_files_are_errors(
    tmp_path: Path, mode: int | None, content: str, what: str, remedy: str
) -> None:
    if mode is not None:
        secret(tmp_path / "CS01", content, mode)
    with pytest.raises(InvalidConfigError) as raised:
        read_config(written(tmp_path, GOOD + 'password_file = "CS01"'))
    (mistake,) = raised.value.errors
    assert (mistake.line, mistake.key) == (14, 'station "CS01" password_file')
    assert mistake.what == f"{tmp_path}/CS01 {what}"
    assert remedy in mistake.remedy


def test_loader_hash_is_for_stations_and_for_no_backend(tmp_path: Path) -> None:
    secret(tmp_path / "hash", f"$scrypt$ln=14,r=8,p=1$c2FsdA${'A' * 43}\n")
    text = GOOD.replace("{station}", '{station}"\npassword_file = "hash') + 'password_file = "hash"'
    with pytest.raises(InvalidConfigError) as raised:
        read_config(written(tmp_path, text))
    (mistake,) = raised.value.errors
    assert mistake.key == 'backend "cpo" password_file'
    assert "is a hash, which no backend accepts" in mistake.what


def test_loader_every_missing_certificate_is_reported_beside_all_else(tmp_path: Path) -> None:
    text = GOOD.replace("{station}", '{station}"\nca = "ca.pem"\ncertificate = "up.pem"\nkey = "up.key')
    text += 'observer = "x"\n[listen]\ncertificate = "server.pem"\nkey = "server.key"\n'
    with pytest.raises(InvalidConfigError, match="6 errors") as raised:
        read_config(written(tmp_path, text))
    assert [mistake.key for mistake in raised.value.errors] == [
        'backend "cpo" ca',
        'backend "cpo" certificate',
        'backend "cpo" key',
        'station "CS01" observer',
        "listen.certificate",
        "listen.key",
    ]


def test_loader_directory_in_place_of_file_is_error(tmp_path: Path) -> None:
    with pytest.raises(
        FileUnreadableError, match=r"is a directory; name the file in it, e.g. .*controller.toml"
    ):
        read_config(tmp_path)


def test_loader_missing_file_is_error(tmp_path: Path) -> None:
    with pytest.raises(FileUnreadableError, match=r"none\.toml: cannot be read: No such file"):
        read_config(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            "[site]\r\n# Süd\nid = 'Süd'".encode("latin-1"),
            r'latin\.toml:2: is not UTF-8 text at column 4, where Windows-1252 has "ü"; save the file as ',
        ),
        (b"\xef\xbb\xbf[site]\nid = '\xe4'", r"latin\.toml:2: is not UTF-8 text at column 7"),
        ("[site]".encode("utf-16"), r"latin\.toml:1: is not UTF-8 text, but UTF-16 or no text at all"),
    ],
)
def test_loader_file_without_text_is_error(tmp_path: Path, data: bytes, expected: str) -> None:
    (tmp_path / "latin.toml").write_bytes(data)
    with pytest.raises(FileUnreadableError, match=expected):
        read_config(tmp_path / "latin.toml")


# -- whatever the file is --------------------------------------------------------------------------------


def test_loader_text_nested_too_deep_is_error() -> None:
    (mistake,) = check_config("a = " + "[" * 10_000, "deep.toml")[1]
    assert mistake.what == "is nested too deeply"


values = (
    st.none()
    | st.booleans()
    | st.integers(-1, 70_000)
    | st.floats()
    | st.sampled_from(["", "cpo", "grid", "L1"])
)
junk = st.recursive(
    values.filter(lambda value: value is not None),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["id", "x"]), inner),
    max_leaves=4,
)
KEYS = [
    "id",
    "url",
    "owner",
    "circuit",
    "parent",
    "limit_a",
    "meter",
    "evse",
    "phases",
    "min_a",
    "fallback_a",
    "unit",
]
tables = st.dictionaries(st.sampled_from(KEYS), junk, max_size=6)
files = st.dictionaries(
    st.sampled_from(["site", "listen", "backend", "circuit", "meter", "station", "load_management", "x"]),
    tables | st.lists(tables, max_size=3) | junk,
)


@given(data=files)
def test_loader_check_of_any_file_ends_with_result(data: dict[str, object]) -> None:
    text = tomli_w.dumps(data)
    config, mistakes, _ = check_config(text, "any.toml")
    assert (config is None) == bool(mistakes)
    assert all(1 <= mistake.line <= text.count("\n") + 1 for mistake in mistakes)


def test_loader_report_lists_errors_then_hints_then_counts() -> None:
    _, mistakes, notes = check_config(GOOD.replace('"cpo"\nurl', '"cpp"\nurl') + "[signing]\n", "f.toml")
    assert render_diagnostics(mistakes, notes).splitlines() == [
        'f.toml:13: station "CS01" owner: backend "cpo" does not exist; did you mean "cpp"?',
        "f.toml:14: signing: without a policy nothing is verified or signed; "
        'name one: policy = "signing.toml" (hint)',
        "1 error",
    ]


def written(folder: Path, text: str) -> Path:
    path = folder / "controller.toml"
    path.write_text(text)
    return path


def secret(path: Path, content: str, mode: int = 0o600) -> None:
    path.write_text(content)
    path.chmod(mode)


def test_swapped_certificate_and_key_are_named_as_such(tmp_path: Path) -> None:
    secret(tmp_path / "server.pem", "-----BEGIN PRIVATE KEY-----\n", 0o600)
    secret(tmp_path / "server.key", "-----BEGIN CERTIFICATE-----\n", 0o644)
    text = GOOD + '[listen]\ncertificate = "server.pem"\nkey = "server.key"\n'
    with pytest.raises(InvalidConfigError) as raised:
        read_config(written(tmp_path, text))
    assert [error.what.partition(" ")[2] for error in raised.value.errors] == [
        "holds a private key, not a certificate",
        "holds a certificate, not a private key",
    ]
    assert {error.remedy for error in raised.value.errors} == {"exchange certificate and key"}


def test_loader_store_that_is_file_is_error(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("")
    with pytest.raises(InvalidConfigError) as raised:
        read_config(written(tmp_path, GOOD + '[store]\ndirectory = "store"\n'))
    assert [error.key for error in raised.value.errors] == ["store.directory"]


def test_loader_serial_port_under_two_names_is_error(tmp_path: Path) -> None:
    (tmp_path / "ttyUSB0").write_text("")
    (tmp_path / "by-id").symlink_to(tmp_path / "ttyUSB0")
    row = 'base_load_a = 0\n[[circuit]]\nid = "row"\nparent = "grid"\nlimit_a = 50\nmeter = "b"'
    text = GOOD.replace("limit_a = 100", f'limit_a = 100\nmeter = "a"\n{row}')
    for unit, (name, device) in enumerate((("a", "ttyUSB0"), ("b", "by-id")), start=1):
        text += f'[[meter]]\nid = "{name}"\ndriver = "abb-b23"\ntransport = "rtu"\n'
        text += f'unit = {unit}\ndevice = "{tmp_path / device}"\n'
    with pytest.raises(InvalidConfigError) as raised:
        read_config(written(tmp_path, text))
    assert [error.key for error in raised.value.errors] == ['meter "b" device']
    assert "is the same port as" in raised.value.errors[0].what


@pytest.mark.parametrize(
    ("added", "is_hinted"),
    [
        ('when_backend_away = "autonomous"', True),
        ('when_backend_away = "grace"', False),
        ('when_backend_away = "autonomous"\npassword_file = "CS01.password"', False),
    ],
)
def test_check_hints_at_offline_service_without_proof(tmp_path: Path, added: str, is_hinted: bool) -> None:
    (tmp_path / "CS01.password").write_text("0123456789abcdef")
    (tmp_path / "CS01.password").chmod(0o600)
    _, errors, hints = check_config(GOOD + added, "c.toml", tmp_path)
    assert errors == []
    assert (
        any("cannot verify who connects while the owner is away" in str(each) for each in hints) == is_hinted
    )


def test_diagnostics_of_many_stations_are_one_line_with_their_lines() -> None:
    stations = "".join(
        f'[[station]]\nid = "S{number}"\ncircuit = "grid"\nowner = "cpo"\nwhen_backend_away = "autonomous"\n'
        for number in range(20)
    )
    text = GOOD.partition("[[station]]")[0].replace("limit_a = 100", "limit_a = 400") + stations
    config, errors, hints = check_config(text, "many.toml")
    assert config is not None
    assert len(hints) == 20
    (line,) = render_diagnostics(errors, hints).splitlines()
    assert line.startswith(f'many.toml:{hints[0].line}: station "S0" when_backend_away: ')
    assert f"19 more like this: lines {hints[1].line}, {hints[2].line}, " in line
    assert line.endswith(", ... (hint)")
