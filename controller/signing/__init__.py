"""End-to-end signatures: which signers a message proves, and what follows from it.

    signature_format    names and conventions of WWCP's signatures, contexts, freshness
    signed_text         the text that a signature covers, cut out of the received bytes
    wwcp_form           the text form of our own messages that WWCP nodes verify
    payload_signatures  verifying and adding signatures
    binary_signatures   signatures in binary payloads
    jws                 signed messages of OCPP itself
    curves, signing_keys    keys, their holders and files
    policy_schema, policy_file, policy_messages    policies as TOML and as messages
    rule_set, roles, access_requests, signature_policy    which rule applies, who may ask for what
    replay_cache        signed messages that were seen before
    policy_enforcer     the decision about a message

Sans-IO: times are POSIX s and come in as arguments.
"""


class SigningError(Exception):
    """Base of all errors of this package. Its text states what is wrong and, if known, what to do."""
