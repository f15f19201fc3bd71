"""[dimming]: errors of the table, and the settings of valid ones."""

from __future__ import annotations

import pytest

from controller.config import Config
from controller.dimming.digital_inputs import DigitalInput, DigitalInputsSettings
from controller.dimming.dimming_builder import make_dimming_settings, module_settings
from controller.dimming.dimming_limits import SourceFailsafe
from controller.model.observations import EvseRef
from drivers.settings import InputModuleSettings
from tests.controller.config.test_loader import GOOD, check_config

SIGNED = '[[dimming.source]]\nid = "dso"\nkind = "signed"\nrole = "grid-operator"\nrank = 10\n'
BOX = '[[dimming.source]]\nid = "box"\nkind = "contact"\nmodule = "io"\n'
WIRE = '[[dimming.contact]]\nname = "W3"\nsource = "box"\ninput = 3\nlimit_w = 4200\n'
OTHER_WIRE = '[[dimming.contact]]\nname = "W4"\nsource = "box"\ninput = 1\non_when = "closed"\n'
MODULE = '[[dimming.module]]\nid = "io"\ntransport = "tcp"\ndriver = "wago-750"\nhost = "192.0.2.9"\n'
STEERABLE = GOOD + "[[station.evse]]\nsteuve = true\n[[station.evse]]\nid = 2\n"
KEY = '[signing]\nkey = "lc.pem"\n'
WHOLE = STEERABLE + KEY + "[dimming]\n" + SIGNED + BOX + WIRE + OTHER_WIRE + MODULE


def mistakes(text: str) -> list[str]:
    return [f"{each.key}: {each.what}" for each in check_config(text, "dimming.toml")[1]]


def read(text: str) -> Config:
    config = check_config(text, "dimming.toml")[0]
    assert config is not None
    return config


def test_dimming_rules_valid_table_becomes_settings() -> None:
    config = read(WHOLE)
    assert config.dimming is not None
    settings = make_dimming_settings(config, config.dimming)
    assert settings.connection_point == config.site.id
    assert settings.devices == {EvseRef("CS01", 1): "grid"}
    assert settings.failsafe == SourceFailsafe(4200, 7200)
    dso, box = settings.sources
    assert (dso.id, dso.role, dso.rank, dso.signed, dso.minimum) == ("dso", "grid-operator", 10, True, True)
    assert (dso.lost_after_s, dso.contacts) == (None, None)
    assert box.contacts == DigitalInputsSettings(
        contacts=(
            DigitalInput(name="W3", watts=4200, on_when="open"),
            DigitalInput(name="W4", watts=None, on_when="closed"),
        )
    )


def test_dimming_rules_drivers_poll_wired_inputs_for_source() -> None:
    config = read(WHOLE)
    assert config.dimming is not None
    assert module_settings(config.dimming) == {
        "box": InputModuleSettings(
            id="box", transport="tcp", inputs=(3, 1), driver="wago-750", host="192.0.2.9", port=502
        )
    }


def test_dimming_rules_exempt_device_is_not_counted() -> None:
    text = WHOLE.replace("id = 2\n", "id = 2\nsteuve = true\nexempt = true\n")
    config = read(text)
    assert config.dimming is not None
    assert list(make_dimming_settings(config, config.dimming).devices) == [EvseRef("CS01", 1)]


def test_dimming_rules_connection_point_and_times_of_own() -> None:
    text = WHOLE.replace("[dimming]\n", '[dimming]\nconnection_point = "DE1"\ncount = "one"\n')
    text = text.replace("rank = 10\n", "lost_after_s = 60\nsigned = false\n")
    config = read(text.replace('module = "io"\n', 'module = "io"\nlost_after_s = 9\nsettle_s = 1\n'))
    assert config.dimming is not None
    settings = make_dimming_settings(config, config.dimming)
    assert (settings.connection_point, settings.counting) == ("DE1", "one")
    dso, box = settings.sources
    assert (dso.lost_after_s, dso.signed) == (60, False)
    assert box.contacts is not None
    assert (box.contacts.lost_after_s, box.contacts.settle_s) == (9, 1)


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        (SIGNED + BOX + WIRE + OTHER_WIRE, "", ["dimming: has no limit source"]),
        (KEY, "", ["dimming: needs a key"]),
        ("steuve = true", "steuve = false", ["dimming: has no controllable EVSE"]),
        ('role = "grid-operator"\n', "", ['"dso" role: is missing']),
        (BOX, SIGNED.replace('"dso"', '"dso2"') + BOX, ['"dso2" role: is also the role of "dso"']),
        (BOX, SIGNED.replace("grid-operator", "other") + BOX, ['"dso" id: "dso" is already defined']),
        ('module = "io"\n', "", ['"box" module: is missing']),
        ('module = "io"\n', 'module = "oi"\n', ['"box" module: dimming.module "oi" does not exist']),
        ('module = "io"\n', 'module = "io"\nrole = "x"\n', ['role: has no meaning with kind "contact"']),
        (WIRE, "", ["none of its contacts has a limit"]),
        (WIRE + OTHER_WIRE, "", ["0 contacts have it"]),
        ("input = 1\n", "input = 3\n", ['input: 3 of this module is contact "W3" already']),
        ('name = "W4"', 'name = "W3"', ['name: "W3" is already defined']),
        (
            OTHER_WIRE,
            WIRE,
            ['name: "W3" is already defined'],
        ),
        ('"W4"\nsource = "box"', '"W4"\nsource = "bux"', ['source: dimming.source "bux" does not exist']),
        ('kind = "contact"', 'kind = "Steuerbox"', ['"box" kind: cannot be "Steuerbox"']),
        ("limit_w = 4200", "limit_kw = 4.2", ["limit_kw: is not a known key"]),
        ('on_when = "closed"', 'on_when = "NC"', ['on_when: cannot be "NC"']),
        (WIRE + OTHER_WIRE, WIRE.replace('"box"', '"bx"'), ['source: dimming.source "bx" does not exist']),
        (
            'source = "box"\ninput = 3',
            'source = "dso"\ninput = 3',
            ["none of its contacts has a limit", '"dso" is no source of contacts'],
        ),
        ('driver = "wago-750"\n', "", ['driver: is missing: transport "tcp" needs it']),
        ('driver = "wago-750"\n', 'driver = "wago"\n', ['driver: driver "wago" does not exist']),
        (
            'transport = "tcp"',
            'transport = "gpio"',
            ['driver: has no meaning with transport "gpio", which needs device'],
        ),
        (
            MODULE,
            BOX.replace('"box"', '"box2"') + WIRE.replace('"box"', '"box2"').replace("3", "9") + MODULE,
            ['"box2" module: is polled for source "box" already'],
        ),
        (
            BOX,
            '[[dimming.source]]\nid = "csms"\nkind = "ocpp"\n' + BOX,
            ['"csms" kind: no backend sets a limit for the site'],
        ),
    ],
)
def test_dimming_rules_error_is_named_at_its_place(old: str, new: str, found: list[str]) -> None:
    assert old in WHOLE
    got = mistakes(WHOLE.replace(old, new, 1))
    assert len(got) == len(found), got
    for each, part in zip(got, found, strict=True):
        assert part in each


def test_dimming_rules_source_without_sender_is_reported() -> None:
    text = WHOLE
    notes = {note.key: note.what for note in check_config(text, "dimming.toml")[2]}
    assert notes['dimming.source "dso" signed'].startswith("no key has its role")
    assert notes['dimming.source "dso" kind'] == "its commands have no way in"
    assert not any("box" in key for key in notes)
    unsigned = text.replace('role = "grid-operator"\n', 'role = "grid-operator"\nsigned = false\n')
    assert 'dimming.source "dso" signed' not in {n.key for n in check_config(unsigned, "dimming.toml")[2]}


def test_dimming_rules_pattern_of_one_contact_is_error() -> None:
    text = WHOLE.replace(OTHER_WIRE, "").replace('module = "io"\n', 'module = "io"\npattern = "one-of"\n', 1)
    assert len(mistakes(text)) == 1
    assert "is for several contacts" in mistakes(text)[0]


def test_dimming_rules_module_may_share_serial_port_with_meter() -> None:
    text = WHOLE.replace("limit_a = 100", 'limit_a = 100\nbase_load_a = 0\nmeter = "m"')
    text += '[[meter]]\nid = "m"\ndriver = "abb-b23"\ntransport = "rtu"\ndevice = "/dev/x"\nunit = 7\n'
    text = text.replace(
        MODULE, MODULE.replace('"tcp"', '"rtu"').replace('host = "192.0.2.9"', 'device = "/dev/x"')
    )
    assert mistakes(text) == []
    (same_unit,) = mistakes(text.replace("unit = 7", "unit = 1"))
    assert '1 on this bus is meter "m" already' in same_unit
    (other_settings,) = mistakes(text.replace("unit = 7", "unit = 7\nbaud = 19200"))
    assert 'uses 9600 8N1, but meter "m" on the same bus 19200 8N1' in other_settings


def test_dimming_rules_contact_without_required_key_is_error_at_place() -> None:
    lacking = WHOLE.replace("input = 3\n", "")
    assert mistakes(lacking) == ['dimming.contact "W3" input: is missing']


@pytest.mark.parametrize(("max_a", "is_hinted"), [(16, True), (18, True), (20, False)])
def test_dimming_rules_evse_up_to_4_2_kw_is_no_device(max_a: int, is_hinted: bool) -> None:
    text = WHOLE.replace("steuve = true\n", f'steuve = true\nphases = ["L2"]\nmax_a = {max_a}\n', 1)
    hints = [each for each in check_config(text, "dimming.toml")[2] if "section 14a begins" in each.what]
    assert bool(hints) is is_hinted


@pytest.mark.parametrize(
    ("device", "meant"),
    [("GPIO17", "/dev/gpiochip0"), ("gpiochip1", "/dev/gpiochip1"), ("/sys/x", "/dev/gp")],
)
def test_dimming_rules_gpio_chip_without_its_path_is_error(device: str, meant: str) -> None:
    gpio = f'[[dimming.module]]\nid = "io"\ntransport = "gpio"\ndevice = "{device}"\n'
    (error,) = check_config(WHOLE.replace(MODULE, gpio), "dimming.toml")[1]
    assert error.what == f'"{device}" is not a GPIO chip'
    assert f'did you mean "{meant}' in error.remedy
    assert mistakes(WHOLE.replace(MODULE, gpio.replace(device, "/dev/gpiochip0"))) == []


def test_dimming_rules_input_that_module_lacks_is_error() -> None:
    module = MODULE.replace("wago-750", "waveshare-rtu-io-8ch")
    (error,) = mistakes(WHOLE.replace(MODULE, module).replace("input = 3", "input = 8"))
    assert '8 is not an input of "waveshare-rtu-io-8ch", which has 8, counted from 0' in error


def test_dimming_rules_module_with_unit_of_meter_is_error() -> None:
    text = WHOLE.replace("limit_a = 100", 'limit_a = 100\nbase_load_a = 0\nmeter = "m"')
    text += '[[meter]]\nid = "m"\ndriver = "abb-b23"\ntransport = "tcp"\nhost = "192.0.2.9"\n'
    (error,) = mistakes(text)
    assert '1 at 192.0.2.9:502 is meter "m" already' in error
    assert mistakes(text + "unit = 2\n") == []


def test_dimming_rules_limit_above_all_devices_is_hint() -> None:
    text = WHOLE.replace("limit_w = 4200", "limit_w = 42000").replace("max_a = 16", "max_a = 32")
    hints = {hint.key: hint.what for hint in check_config(text, "dimming.toml")[2]}
    assert hints['dimming.contact "W3" limit_w'].startswith("has no effect: all controllable EVSEs together")


def hints(text: str, key: str) -> list[str]:
    return [each.what for each in check_config(text, "dimming.toml")[2] if key in each.key]


@pytest.mark.parametrize(
    ("point", "found"),
    [
        ("DE123", ["has 5 characters, the id of a metering location (MeLo) has 33"]),
        ("DE0001234567800000000000000000001", []),
        (
            "DE 0001234567800000000000000000001",
            ["has 34 characters, the id of a metering location (MeLo) has 33"],
        ),
        ("57685676748", []),
        (
            "57685676784",
            ["is not the id of a market location (MaLo): 11 digits, the last one a check digit"],
        ),
        ("5768567674", ["is not the id of a market location (MaLo): 11 digits, the last one a check digit"]),
        ("Depot Nord", []),
        ("1234", []),
    ],
)
def test_dimming_rules_mistyped_connection_point_is_hint(point: str, found: list[str]) -> None:
    text = WHOLE.replace("[dimming]\n", f'[dimming]\nconnection_point = "{point}"\n')
    assert hints(text, "connection_point") == found


@pytest.mark.parametrize(
    ("module", "number", "found"),
    [
        (MODULE, 31, []),
        (MODULE, 100, ["100 is the number of an input, and few modules have so many"]),
        ('[[dimming.module]]\nid = "io"\ntransport = "gpio"\ndevice = "/dev/gpiochip0"\n', 100, []),
    ],
)
def test_dimming_rules_high_input_of_module_is_hint(module: str, number: int, found: list[str]) -> None:
    text = WHOLE.replace(MODULE, module).replace("input = 3", f"input = {number}")
    assert hints(text, "input") == found
