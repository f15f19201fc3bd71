"""Site PKI: certificate requests, issuing, renewal and revocation, without sockets or clocks.

    object_ids           OIDs of our attributes and extensions, under a configurable arc
    asn1                 the DER structures that `cryptography` cannot read or write
    certificate_requests reading and writing PKCS#10 requests with OCPI v3.0 attributes
    certificate_profiles what a certificate for a purpose may be used for, and how long
    issuance             policy: request in, grant or `IssuanceError` out
    authority            root, issuing CA, certificates, revocation lists
    certificate_ledger   what was issued, replaced and revoked, and what is denied now
    certificate_status   hashes of certificates, signed status (OCSP)
    certificate_messages OCPP messages about the certificates of stations
    est_messages         requests and responses of EST (RFC 7030)
    peer_certificates    the check of a peer's certificate in a handshake
    ca_folder            the site CA on disk
    identity_files       our own keys and certificates on disk

Times are POSIX s (UTC) and come in as arguments.
"""


class PkiError(Exception):
    """Base of all errors of this package. Its text states what is wrong and what to do."""
