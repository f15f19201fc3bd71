"""The site's backend as a source of limits: signed commands, its own limit, and the state of its link."""

from __future__ import annotations

import itertools

from controller.dimming import dimming_messages
from controller.dimming.dimming_settings import DimmingSettings
from controller.dimming.events import (
    CommandAnswer,
    CommandReceived,
    SourceLimited,
    SourceReached,
)
from controller.ocpp.frames import Version
from controller.services.dimming.dimming_service import DimmingService
from controller.site_identity.identity import SiteLimited


class DimmingBackend:
    """Passes what the backend sends to dimming. `backend`: its name; `voltage`: nominal (V).

    `version`: OCPP version of the site's own identity.
    """

    def __init__(
        self,
        dimming: DimmingService,
        settings: DimmingSettings,
        backend: str,
        version: Version,
        voltage: float,
    ) -> None:
        self._dimming = dimming
        self._settings = settings
        self._backend = backend
        self._version = version
        self._voltage = voltage
        self._tokens = itertools.count(1)

    async def answer_data_transfer(self, payload: bytes) -> bytes:
        """Return the response to a DataTransfer; a command and its evidence are stored by then."""
        received = dimming_messages.command_in(dimming_messages.ACTION, payload)
        if received is None:
            return dimming_messages.not_understood(payload)
        is_durable = self._dimming.evidence.is_durable
        command = CommandReceived(next(self._tokens), self._backend, received, is_durable)
        actions = self._dimming.handle_event(command)
        await self._dimming.evidence.wait_stored()
        # The controller answers each command at once.
        answer = next(action for action in actions if isinstance(action, CommandAnswer))
        return dimming_messages.answer(self._version, answer.payload, accepted=answer.accepted)

    def on_reached(self, there: bool) -> None:
        """Update whether the link is open."""
        for source in self._settings.sources:
            if source.kind in ("signed", "ocpp"):
                self._dimming.handle_event(SourceReached(source.id, there))
        if there:
            self._dimming.repeat_notices()

    def on_limit(self, limited: SiteLimited) -> float | None:
        """Take the backend's limit; return the part for the whole connection (A per phase).

        A limit set for an external party applies to the controllable EVSEs, where a source of kind "ocpp" may
        dim them. OCPP 1.6 has one purpose for both: there the limit holds as both.
        """
        dims_a = limited.limit_a if self._version is Version.V16 else limited.outside_a
        # Each source of kind "ocpp" is the one backend of the site.
        sources = [source.id for source in self._settings.sources if source.kind == "ocpp"]
        watts = None if dims_a is None else dims_a * 3 * self._voltage
        proof = "no profile any more" if watts is None else "a charging profile of the site's backend"
        for source in sources:
            self._dimming.handle_event(SourceLimited(source=source, watts=watts, proof=proof))
        return limited.limit_a if sources else limited.lowest_a
