"""CALLs of a station that the controller itself answers, and commands about what it manages."""

from __future__ import annotations

import pytest

from controller.ocpp.frames import Version
from controller.relay.events import LocalAnswer, LocalCall
from tests.controller.relay.playbook import Playbook, call, result


class _Scope:
    """Answers SignCertificate here, and refuses CertificateSigned."""

    def takes_call(self, action: str, payload: bytes) -> bool:
        return action == "SignCertificate" and payload != b'{"other":1}'

    def refuse_command(self, action: str, payload: bytes) -> bytes | None:
        return b'{"status":"Rejected"}' if action == "CertificateSigned" else None


@pytest.fixture
def talk() -> Playbook:
    talk = Playbook(Version.V201, local=_Scope())
    talk.commandable()
    return talk


def test_relay_local_call_is_answered_here_and_reaches_no_backend(talk: Playbook) -> None:
    talk.station(call("1", "SignCertificate", '{"csr":"x"}'))
    talk.local_call("1", "SignCertificate")
    talk.passes_up(call("2", "Heartbeat"))
    talk.local_answer(LocalAnswer("1", b'{"status":"Accepted"}'))
    talk.station_hears(result("1", '{"status":"Accepted"}'))
    talk.done()


def test_relay_local_call_repeated_before_answer_gets_one_answer(talk: Playbook) -> None:
    talk.station(call("1", "SignCertificate"))
    talk.local_call("1", "SignCertificate")
    talk.station(call("1", "SignCertificate"))
    talk.local_answer(LocalAnswer("1", b"{}"))
    talk.station_hears(result("1"))
    talk.local_answer(LocalAnswer("1", b"{}"))
    talk.done()


def test_relay_local_call_that_fails_gets_error(talk: Playbook) -> None:
    talk.station(call("1", "SignCertificate"))
    talk.local_call("1", "SignCertificate")
    talk.local_answer(LocalAnswer("1", None))
    talk.station_hears_error("1", "InternalError", "SignCertificate")


def test_local_calls_relay_call_that_is_not_local_passes_to_owner(talk: Playbook) -> None:
    talk.passes_up(call("1", "SignCertificate", '{"other":1}'))


def test_local_calls_relay_command_that_scope_refuses_is_answered_rejected(talk: Playbook) -> None:
    talk.backend(call("b1", "CertificateSigned", '{"certificateChain":"x"}'))
    talk.backend_hears(result("b1", '{"status":"Rejected"}'))
    talk.passes_down(call("b2", "InstallCertificate"))
    talk.noted("the site CA manages the certificates of this station")


def test_local_call_has_payload_as_received(talk: Playbook) -> None:
    talk.station(call("1", "SignCertificate", '{ "csr":"x" }'))
    assert talk.local_call("1", "SignCertificate") == LocalCall("1", "SignCertificate", b'{ "csr":"x" }')
