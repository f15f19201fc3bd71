"""Policy of the site CA: a request and facts about its sender in, a grant or `IssuanceError` out.

The facts (`Applicant`) come from the authenticated link or from the person at the command line, never from
the request. What a request asks for is granted as it stands or refused; it is never shortened or extended
without a word.
"""

from __future__ import annotations

import ipaddress
import re

import msgspec

from controller.pki import PkiError
from controller.pki.certificate_ledger import CertificateLedger
from controller.pki.certificate_profiles import DAY_S, PROFILES, CertificateProfile, Purpose
from controller.pki.certificate_requests import CertificateRequest

SKEW_S = 300.0
"""Longest time that a certificate may begin in the past: clocks of stations differ."""

MAX_LEAD_S = 30 * DAY_S
"""Longest time that a certificate may begin in the future."""


class IssuanceError(PkiError):
    """A certificate is not issued."""


class Applicant(msgspec.Struct, frozen=True, kw_only=True):
    """Holder of a certificate, as known apart from the request.

    `id`: OCPP identity, meter, host or person. `hosts`: DNS names and IP addresses of a server. `evses`,
    `connection_points`: what it may act for. `party_ids`: allowed ones of all three kinds; None allows all.
    `modbus_role`: role in the certificate of a Modbus client.
    """

    id: str
    purpose: Purpose
    hosts: tuple[str, ...] = ()
    evses: tuple[str, ...] = ()
    connection_points: tuple[str, ...] = ()
    party_ids: frozenset[str] | None = None
    modbus_role: str | None = None


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate that may be issued. Times are POSIX s."""

    request: CertificateRequest
    applicant: Applicant
    profile: CertificateProfile
    key_group: str
    not_before: float
    not_after: float


_LABEL = r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)"
_DNS_NAME = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")
MAX_HOST_LENGTH = 253


def is_host(host: str) -> bool:
    """Return True for an IP address or a DNS name, whose first label may be a star (RFC 6125, 6.4.3)."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return len(host) <= MAX_HOST_LENGTH and _DNS_NAME.fullmatch(host) is not None
    return True


class IssuancePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of an installation. `max_days` bounds every profile; None leaves each its own.

    `issuer_begin` (POSIX s): begin of certificates while the clock is not trusted. One that was ahead would
    date them to a time to come, until which they are rejected; None: the clock is trusted.
    """

    max_days: float | None = None
    issuer_begin: float | None = None
    skew_s: float = SKEW_S
    allow_key_reuse: bool = False


def grant_request(
    request: CertificateRequest,
    applicant: Applicant,
    ledger: CertificateLedger,
    policy: IssuancePolicy,
    utc: float,
    issuer_not_after: float,
) -> Grant:
    """Decide about a request at `utc`. Raises IssuanceError with the reason."""
    profile = PROFILES[applicant.purpose]
    _check_claims(request, applicant, profile)
    _check_key(request, applicant, ledger, policy)
    group = request.content.key_group or f"{applicant.purpose}/{applicant.id}"
    owner = ledger.group_owner(group)
    if owner not in (None, applicant.id):
        raise IssuanceError(f'key group "{group}" belongs to {owner}, not to {applicant.id}')
    begin, end = _validity(request, profile, policy, utc, issuer_not_after)
    return Grant(
        request=request,
        applicant=applicant,
        profile=profile,
        key_group=group,
        not_before=begin,
        not_after=end,
    )


def _check_claims(request: CertificateRequest, applicant: Applicant, profile: CertificateProfile) -> None:
    if request.requests_ca:
        raise IssuanceError("the request asks for a CA certificate")
    if request.common_name != applicant.id:
        raise IssuanceError(f'the request is for "{request.common_name}", the applicant is "{applicant.id}"')
    others = set(request.extended_key_usage) - set(profile.extended_key_usage)
    if others:
        raise IssuanceError(
            f"profile {profile.purpose} does not allow the requested key usages {', '.join(sorted(others))}"
        )
    content = request.content
    ids = {*content.party_ids, *content.sub_cpo_ids, *content.sub_emsp_ids}
    if applicant.party_ids is not None and not ids <= applicant.party_ids:
        foreign = ", ".join(sorted(ids - applicant.party_ids))
        raise IssuanceError(f"the request names party ids that are not allowed here: {foreign}")
    if profile.named_hosts:
        if not applicant.hosts:
            raise IssuanceError(
                f"a certificate of profile {profile.purpose} needs at least one host name or address: --host"
            )
        for host in applicant.hosts:
            if not is_host(host):
                raise IssuanceError(
                    f"{host!r} is no DNS name and no IP address; write it without port and scheme"
                )
        foreign_names = set(request.dns_names) - set(applicant.hosts)
        if foreign_names:
            raise IssuanceError(
                f"the request names hosts that are not allowed: {', '.join(sorted(foreign_names))}"
            )
    if (applicant.purpose is Purpose.MODBUS_CLIENT) != (applicant.modbus_role is not None):
        raise IssuanceError("a Modbus client needs a role, and only a Modbus client has one")


def _check_key(
    request: CertificateRequest, applicant: Applicant, ledger: CertificateLedger, policy: IssuancePolicy
) -> None:
    key = request.fingerprint
    owner = ledger.key_owner(key)
    if owner not in (None, applicant.id):
        raise IssuanceError(f"the key of the request is the key of {owner}")
    if ledger.is_key_revoked(key):
        raise IssuanceError("the key of the request was revoked: make a new one")
    if owner is not None and not policy.allow_key_reuse:
        raise IssuanceError("the key of the request has a certificate already: make a new key for a renewal")


def _validity(
    request: CertificateRequest,
    profile: CertificateProfile,
    policy: IssuancePolicy,
    utc: float,
    issuer_not_after: float,
) -> tuple[float, float]:
    longest = profile.max_days if policy.max_days is None else min(profile.max_days, policy.max_days)
    asked_begin, asked_end = request.content.not_before, request.content.not_after
    if policy.issuer_begin is not None and utc < policy.issuer_begin:
        raise IssuanceError("the clock is before the begin of the issuing CA: check NTP (timedatectl)")
    usual = utc - policy.skew_s
    begin = usual if asked_begin is None else asked_begin
    end = min(begin + longest * DAY_S, issuer_not_after) if asked_end is None else asked_end
    if asked_begin is None and policy.issuer_begin is not None:
        begin = min(begin, policy.issuer_begin)
    elif begin < usual:
        raise IssuanceError("the requested begin is in the past")
    if begin > utc + MAX_LEAD_S:
        raise IssuanceError(f"the requested begin is more than {MAX_LEAD_S / DAY_S:g} days ahead")
    if end <= max(begin, utc):
        raise IssuanceError("the requested end is not after the begin, or is over already")
    # From now on: the skew before it does not count against an end that was asked for.
    lasting_s = end - max(begin, utc)
    if lasting_s > longest * DAY_S:
        raise IssuanceError(f"the request asks for {lasting_s / DAY_S:.1f} days, {longest:g} are allowed")
    if end > issuer_not_after:
        raise IssuanceError(
            "the requested end is after the end of the issuing CA: rotate the issuing CA first"
        )
    return begin, end
