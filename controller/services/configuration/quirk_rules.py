"""Charger quirks of a configuration: the site's own file, and rows that stations name."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path as FilePath

from controller.chargers.capability_discovery import CapabilityDiscovery
from controller.chargers.quirks import Quirk, QuirksError, all_quirks, read_site_quirks
from controller.config.schema import Config
from controller.tomlcheck.diagnostics import Problem, in_other_file, nearest_names
from drivers.coded_text import coded

log = logging.getLogger("controller")


def check_quirks(config: Config) -> Iterator[Problem]:
    """Find every error of the quirks file, and stations that name a row that does not exist."""
    try:
        rows = {row.name for row in (*all_quirks(), *_read_own(config))}
    except QuirksError as error:
        for mistake in error.errors:
            yield in_other_file(("site", "quirks_file"), mistake)
        return
    except OSError:
        return  # which the check of all files reports
    for index, station in enumerate(config.station):
        if station.quirk is not None and station.quirk not in rows:
            near = nearest_names(station.quirk, rows)
            remedy = (
                coded('did you mean "{meant}"?', meant=near[0])
                if near
                else coded(
                    "name a row of site.quirks_file, or remove it: the row for its model is found by its "
                    "BootNotification"
                )
            )
            yield Problem(
                ("station", index, "quirk"),
                coded('quirk "{quirk}" does not exist', quirk=station.quirk),
                remedy,
            )


def make_discovery(config: Config) -> CapabilityDiscovery:
    """Return the discovery with the site's own quirks; without them, with an ERROR, if they are invalid."""
    own = read_rows_or_report(config)
    return CapabilityDiscovery(filter_dc_stations(config), own, find_chosen_quirks(config, own))


def filter_dc_stations(config: Config) -> list[str]:
    """Return the ids of the stations with a rating in kW: they take limits in W only."""
    return [each.id for each in config.station if any(evse.max_kw is not None for evse in each.evse)]


def find_chosen_quirks(config: Config, own: Iterable[Quirk]) -> dict[str, Quirk]:
    """Return the row that each station names, without those that name none; `own`: rows of the site."""
    rows = {row.name: row for row in (*all_quirks(), *own)}
    return {each.id: rows[each.quirk] for each in config.station if each.quirk in rows}


def read_rows_or_report(config: Config) -> tuple[Quirk, ...]:
    """Return the site's own rows; none, with an ERROR, if they are invalid."""
    try:
        return _read_own(config)
    except (OSError, QuirksError) as error:
        log.error("quirks of the site not used reason=%s", error)
        return ()


def _read_own(config: Config) -> tuple[Quirk, ...]:
    """Return the rows of the site's own file. Raises OSError, QuirksError."""
    file = config.site.quirks_file
    return () if file is None else read_site_quirks(FilePath(file))
