"""Which station a client certificate is for (security profile 3), pure.

Sources: OCPP 2.x Part 2, block A (the common name identifies the charging station); OCPP 1.6 security
whitepaper, certificate profile 3; RFC 5280, 4.2.1.6 for the alternative names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote


def names_in(certificate: Mapping[str, Any]) -> tuple[str, ...]:
    """The names that a certificate, as `ssl` gives it, is for, each once and in its order.

    These are its common names, its alternative DNS names, and of alternative URIs the last segment,
    percent-decoded: a station may be named by the URL that it connects to. Only a certificate
    that was verified may be asked.
    """
    subject: Sequence[Sequence[tuple[str, str]]] = certificate.get("subject", ())
    alternatives: Sequence[tuple[str, str]] = certificate.get("subjectAltName", ())
    names = [value for part in subject for kind, value in part if kind == "commonName"]
    names += [value for kind, value in alternatives if kind == "DNS"]
    names += [unquote(value.rpartition("/")[2]) for kind, value in alternatives if kind == "URI"]
    return tuple(dict.fromkeys(name for name in names if name))
