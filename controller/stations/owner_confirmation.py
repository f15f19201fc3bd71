"""Confirmation of a station by its owner, before its upgrade is answered.

The link to the owner is opened first, with what the station has shown: a station that the owner rejects gets
the owner's status and nothing that it sends is taken; a station that is there keeps its connection until
the owner has accepted the newer one; and the version is the owner's choice.

While the owner is away, a station whose password the controller cannot verify itself is served only with the
password that the owner accepted last. A strict station is turned away with 503 and Retry-After once it is
known that its owner is away, if its fallback limit is set.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus

import msgspec

from controller.backends.pool import BackendPool, OpenedLink
from controller.ocpp.frames import Version
from controller.stations.admission import Admission, Rejection
from controller.stations.credential_memory import CredentialMemory
from controller.stations.registry import SessionRegistry
from controller.transport.dial import DialError, DialStage

log = logging.getLogger("controller.transport")

UNVERIFIED_RETRY_S = 60.0
"""Retry-After of a station whose password cannot be verified while its owner is away."""


class OwnerRules(msgspec.Struct, frozen=True):
    """One station's owner, and whether the station is served while the owner is away.

    `pool` None: the controller itself is the station's CSMS.
    """

    pool: BackendPool | None
    is_strict: bool


class OwnerConfirmation:
    """Confirms admissions; `owners` by station."""

    def __init__(
        self, owners: Mapping[str, OwnerRules], registry: SessionRegistry, accepted: CredentialMemory
    ) -> None:
        self._owners = owners
        self._registry = registry
        self._accepted = accepted
        self._has_limits: set[str] = set()

    def set_owners(self, owners: Mapping[str, OwnerRules]) -> None:
        """Use these owners of stations from now on."""
        self._owners = owners

    def on_session_ended(self, station: str, *, has_set_limits: bool) -> None:
        """Take note whether a station has accepted the limits that it was sent."""
        if has_set_limits:
            self._has_limits.add(station)
        else:
            self._has_limits.discard(station)

    async def confirm(self, admission: Admission) -> Admission | Rejection:
        """Return the admission with its link to the owner and its version, or a rejection."""
        confirmed = await self._confirm(admission)
        if isinstance(confirmed, Admission):
            self._registry.count_takeover(admission.station)
        return confirmed

    async def _confirm(self, admission: Admission) -> Admission | Rejection:
        station = admission.station
        rules = self._owners[station]
        wait_s = await self._registry.wait_takeover(station, admission.peer)
        if wait_s > 0:
            return Rejection(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "another connection with this station's id was opened a moment ago",
                station,
                wait_s,
                is_expected=True,
            )
        pool = rules.pool
        if pool is None:
            return admission
        if rules.is_strict and pool.is_down and self._may_turn_away(station):
            return self._turn_away(admission, pool)
        try:
            opened = await self._open_link(admission, pool)
        except DialError as failed:
            return await self._decide_without_owner(admission, pool, rules.is_strict, failed)
        if not admission.is_proven:
            await self._accepted.record_accepted(admission)
        return msgspec.structs.replace(admission, version=Version(opened.version), owner_link=opened)

    async def release(self, admission: Admission) -> None:
        """Close the link to the owner if no session has used it."""
        opened = admission.owner_link
        if opened is not None and not opened.is_released:
            opened.release()
            await opened.channel.close(1000, "")

    def _may_turn_away(self, station: str) -> bool:
        """Return True if nothing has to be sent to the station: its limits are set, or it is connected."""
        return station in self._has_limits or self._registry.find_session(station) is not None

    def _turn_away(self, admission: Admission, pool: BackendPool) -> Rejection:
        retry_after_s = pool.turn_away(admission.link_request())
        return Rejection(
            HTTPStatus.SERVICE_UNAVAILABLE,
            f"backend {pool.backend} is away",
            admission.station,
            retry_after_s,
            is_expected=True,
        )

    async def _open_link(self, admission: Admission, pool: BackendPool) -> OpenedLink:
        """Open the link in a version that the owner chooses. Raises DialError.

        A version that is known to work best with the station's model is offered alone first.
        """
        versions = admission.versions or (admission.version,)
        groups = [versions[:1], versions[1:]] if admission.is_best_version else [versions]
        for group in filter(None, groups):
            try:
                return await pool.open_link(admission.link_request(group), is_owner=True)
            except DialError as failed:
                if not failed.is_version or group is groups[-1] or not groups[-1]:
                    raise
        raise AssertionError("a station without a version")

    async def _decide_without_owner(
        self, admission: Admission, pool: BackendPool, is_strict: bool, failed: DialError
    ) -> Admission | Rejection:
        station, backend = admission.station, pool.backend
        if failed.stage is DialStage.REFUSED:
            return Rejection(_status_of(failed), f"backend {backend} rejected the station: {failed}", station)
        if admission.is_proven:
            return admission
        is_verified = await self._accepted.verify(admission)
        if is_verified is False:
            return Rejection(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"its password differs from what backend {backend} accepted last, and the backend is away",
                station,
                UNVERIFIED_RETRY_S,
            )
        is_serving = not is_strict or self._registry.find_session(station) is not None
        if is_verified is None and admission.authorization is not None and is_serving:
            return Rejection(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"its password cannot be verified while backend {backend} is away; "
                "set password_file in its [[station]] to serve it then",
                station,
                UNVERIFIED_RETRY_S,
            )
        return admission


def _status_of(failed: DialError) -> int:
    """Return the HTTP status for a station that its backend rejected: the backend's own if it fits."""
    status = failed.status
    if status is not None and 400 <= status < 500 and status in set(HTTPStatus):
        return status
    return HTTPStatus.BAD_REQUEST if failed.is_version else HTTPStatus.FORBIDDEN
