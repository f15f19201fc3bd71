"""Makes the session of a station for one connection: its relay, its links and its rules."""

from __future__ import annotations

from controller.config import Config, StationConfig
from controller.model.rate_limits import TokenBucket
from controller.overlay.binary_messages import BinaryMessages
from controller.services.certificates.station_certificates import StationCertificateService
from controller.services.machine.wall_clock import utc
from controller.services.stations.relay_factory import RelayFactory
from controller.services.stations.station_admission import StationAdmission
from controller.signing.policy_enforcer import PolicyEnforcer
from controller.stations.session import SessionRules, StationSession
from controller.stations.session_host import SessionHost
from controller.stations.session_links import SessionLinks
from controller.transport.channel import Channel

BURST_S = 10
"""Messages that a station may send at once, in s of listen.messages_per_second: it has been offline."""


class SessionFactory:
    """Makes sessions for the stations of a configuration.

    `enforcer`: the policy, if there is one. `certificates`: the issuer of station certificates, if the
    controller is one.
    """

    def __init__(
        self,
        config: Config,
        relays: RelayFactory,
        host: SessionHost,
        admission: StationAdmission,
        enforcer: PolicyEnforcer | None,
        certificates: StationCertificateService | None,
    ) -> None:
        self._listen = config.listen
        self._relays = relays
        self._host = host
        self.admission = admission
        self._enforcer = enforcer
        self._certificates = certificates

    def set_config(self, config: Config) -> None:
        """Make the sessions that begin from now on with the settings of another configuration."""
        self._listen = config.listen

    def make_session(
        self, station: StationConfig, links: SessionLinks, channel: Channel | None
    ) -> StationSession:
        """Make a session; `channel` None: the station is absent, and only deliveries are made for it."""
        version, rate = links.admitted.version, self._listen.messages_per_second
        rules = SessionRules(
            utc_of=utc,
            pace=TokenBucket(rate, burst=max(1, int(BURST_S * rate))).take,
            ping_s=self.admission.find_quirks(station.id).ping_s,
            backend_ping_s=self._listen.ping_s,
            binary_messages=BinaryMessages(self._enforcer, utc, version, station.id, links.owner),
            on_password_command=self.admission.on_password_command,
            on_local_call=None if self._certificates is None else self._certificates.on_local_call,
        )
        relay = self._relays.make_relay(station, version, is_present=channel is not None)
        return StationSession(relay, channel, links, self._host, rules)
