"""Keys of a policy file: public points and certificates, with the errors of those that cannot be used."""

from __future__ import annotations

from pathlib import Path as FilePath

from controller.signing import SigningError
from controller.signing.jws import JwsCertificate, read_jws_certificate
from controller.signing.payload_signatures import KeyId
from controller.signing.policy_schema import KeyEntry, PolicyFile
from controller.signing.rule_set import begin_of, end_of
from controller.signing.signing_keys import KnownKey, read_public_point
from controller.tomlcheck.diagnostics import Problem
from controller.tomlcheck.positions import DataPath
from drivers.coded_text import coded


def load_keys(
    policy: PolicyFile, folder: FilePath
) -> tuple[list[tuple[KeyEntry, KnownKey]], list[JwsCertificate], list[Problem]]:
    """Return the keys with their entries, the certificates among them, and what cannot be used."""
    known: dict[KeyId, tuple[KeyEntry, KnownKey]] = {}
    certificates: list[JwsCertificate] = []
    found: list[Problem] = []
    for index, entry in enumerate(policy.key):
        path: DataPath = ("key", index)
        try:
            loaded = _load_key(entry, folder)
        except _KeyEntryError as error:
            found.append(Problem((*path, *error.path), error.what, error.remedy, depends_on=(*path, "curve")))
            continue
        if isinstance(loaded, JwsCertificate):
            certificates.append(loaded)
            begin, end, key = loaded.not_before, loaded.not_after, loaded.key
        else:
            begin, end, key = begin_of(None), end_of(None), loaded
        if key in known:
            found.append(
                Problem(
                    path,
                    coded("is the key of {holder}, too", holder=known[key][1].holder),
                    coded("remove one of the two"),
                )
            )
        known[key] = (
            entry,
            KnownKey(
                id=key,
                holder=entry.holder,
                not_before=max(begin, begin_of(entry.not_before)),
                not_after=min(end, end_of(entry.not_after)),
            ),
        )
    return list(known.values()), certificates, found


class _KeyEntryError(SigningError):
    def __init__(self, path: DataPath, what: str, remedy: str) -> None:
        super().__init__(what)
        self.path, self.what, self.remedy = path, what, remedy


def _load_key(entry: KeyEntry, folder: FilePath) -> KeyId | JwsCertificate:
    if entry.public is not None and entry.certificate is None:
        return _load_public_key(entry, entry.public)
    if entry.public is None and entry.certificate is not None:
        return _load_certificate(folder / entry.certificate)
    what = (
        coded("has neither public nor certificate")
        if entry.public is None
        else coded("has both public and certificate")
    )
    raise _KeyEntryError((), what, coded("give it one of them; `local-controller keys export` writes public"))


def _load_public_key(entry: KeyEntry, public: str) -> KeyId:
    try:
        return read_public_point(entry.curve, public)
    except SigningError as error:
        remedy = coded("copy key and curve from `local-controller keys export`")
        raise _KeyEntryError(("public",), str(error), remedy) from None


def _load_certificate(file: FilePath) -> JwsCertificate:
    try:
        return read_jws_certificate(file.read_bytes())
    except OSError as error:
        what = coded("{file} cannot be read: {reason}", file=file, reason=error.strerror or "")
    except SigningError as error:
        what = coded("{file} {problem}", file=file, problem=error)
    raise _KeyEntryError(("certificate",), what, coded("name the signer's certificate, in PEM"))
