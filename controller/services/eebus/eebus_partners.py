"""Trusted partners of the EEBUS node: those of the configuration, and those that a user has accepted."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from controller.config.schema import EebusConfig
from controller.services.eebus.eebus_connections import Target
from controller.services.eebus.eebus_discovery import Found
from controller.services.machine.control_socket import ControlError
from controller.store.eebus_store import EebusStore
from controller.store.state_journal import StoreError
from drivers.coded_text import coded
from drivers.eebus.array_json import EebusError
from drivers.eebus.certificates import normalize_ski

log = logging.getLogger("controller.eebus")


class EebusPartners:
    """`trusted`: SHIP id of each trusted SKI; empty where it is not known yet."""

    def __init__(self, eebus: EebusConfig, store: EebusStore) -> None:
        self._store = store
        self._configured = {normalize_ski(each.ski): each for each in eebus.partner}
        self.trusted = dict.fromkeys(self._configured, "") | store.load_partners()

    def accept(self, ski: str) -> None:
        """Trust a partner, also after a restart. Raises ControlError where that cannot be stored."""
        try:
            self._store.save_partner(ski, self.trusted.get(ski, ""))
        except StoreError as error:
            raise ControlError(str(error)) from error
        self.trusted.setdefault(ski, "")
        log.info("EEBUS partner accepted ski=%s", ski)

    def remove(self, ski: str) -> bool:
        """Trust a partner no longer; True if it will be again after a restart, as it is configured.

        Raises ControlError where it is not trusted.
        """
        if ski not in self.trusted:
            raise ControlError(coded("{ski} is not a partner; `eebus status` lists them", ski=ski))
        try:
            self._store.remove_partner(ski)
        except StoreError as error:
            raise ControlError(str(error)) from error
        del self.trusted[ski]
        log.info("EEBUS partner removed ski=%s", ski)
        return ski in self._configured

    def learn_ship_id(self, ski: str, ship_id: str) -> None:
        """Store the SHIP id of a trusted partner."""
        self.trusted[ski] = ship_id
        try:
            self._store.save_partner(ski, ship_id)
        except StoreError as error:
            log.error("SHIP id not stored ski=%s reason=%s", ski, error)

    def target(self, ski: str, found: Mapping[str, Found]) -> Target | None:
        """Return where a partner can be dialed: its configured host, else where mDNS found it."""
        configured = self._configured.get(ski)
        if configured is not None and configured.host is not None:
            return Target(configured.host, configured.port, configured.path)
        partner = found.get(ski)
        return None if partner is None else partner.target


def read_ski(request: Mapping[str, object]) -> str:
    """Return the SKI of a request. Raises ControlError."""
    try:
        return normalize_ski(str(request.get("ski", "")))
    except EebusError as error:
        raise ControlError(str(error)) from error
