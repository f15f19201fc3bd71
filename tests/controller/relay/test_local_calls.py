"""CALLs of a station that the controller itself answers, and commands about what it manages."""

from __future__ import annotations

import pytest

from controller.ocpp.frames import Version
from controller.relay.events import LocalAnswer, LocalCall
from tests.scenario.frames import call, result
from tests.scenario.relay_harness import RelayHarness


class _Scope:
    """Answers SignCertificate here, and refuses CertificateSigned."""

    def takes_call(self, action: str, payload: bytes) -> bool:
        return action == "SignCertificate" and payload != b'{"other":1}'

    def refuse_command(self, action: str, payload: bytes) -> bytes | None:
        return b'{"status":"Rejected"}' if action == "CertificateSigned" else None


@pytest.fixture
def scenario() -> RelayHarness:
    scenario = RelayHarness(Version.V201, local=_Scope())
    scenario.make_commandable()
    return scenario


def test_relay_local_call_is_answered_here_and_reaches_no_backend(scenario: RelayHarness) -> None:
    scenario.station.send(call("1", "SignCertificate", '{"csr":"x"}'))
    scenario.take_local_call("1", "SignCertificate")
    scenario.forward_up(call("2", "Heartbeat"))
    scenario.answer_local_call(LocalAnswer("1", b'{"status":"Accepted"}'))
    scenario.station.receive(result("1", '{"status":"Accepted"}'))
    scenario.expect_nothing()


def test_relay_local_call_repeated_before_answer_gets_one_answer(scenario: RelayHarness) -> None:
    scenario.station.send(call("1", "SignCertificate"))
    scenario.take_local_call("1", "SignCertificate")
    scenario.station.send(call("1", "SignCertificate"))
    scenario.answer_local_call(LocalAnswer("1", b"{}"))
    scenario.station.receive(result("1"))
    scenario.answer_local_call(LocalAnswer("1", b"{}"))
    scenario.expect_nothing()


def test_relay_local_call_that_fails_gets_error(scenario: RelayHarness) -> None:
    scenario.station.send(call("1", "SignCertificate"))
    scenario.take_local_call("1", "SignCertificate")
    scenario.answer_local_call(LocalAnswer("1", None))
    scenario.station.receive_error("1", "InternalError", "SignCertificate")


def test_local_calls_relay_call_that_is_not_local_passes_to_owner(scenario: RelayHarness) -> None:
    scenario.forward_up(call("1", "SignCertificate", '{"other":1}'))


def test_local_calls_relay_command_that_scope_refuses_is_answered_rejected(scenario: RelayHarness) -> None:
    scenario.csms.send(call("b1", "CertificateSigned", '{"certificateChain":"x"}'))
    scenario.csms.receive(result("b1", '{"status":"Rejected"}'))
    scenario.forward_down(call("b2", "InstallCertificate"))
    scenario.expect_log("the site CA manages the certificates of this station")


def test_local_call_has_payload_as_received(scenario: RelayHarness) -> None:
    scenario.station.send(call("1", "SignCertificate", '{ "csr":"x" }'))
    assert scenario.take_local_call("1", "SignCertificate") == LocalCall(
        "1", "SignCertificate", b'{ "csr":"x" }'
    )
