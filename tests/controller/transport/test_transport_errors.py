"""Remedies of errors of opening a connection: what a person can check."""

from __future__ import annotations

import socket

import pytest

from controller.transport.dial import DialError
from controller.transport.transport_errors import describe_error


@pytest.mark.parametrize(
    ("cause", "remedy"),
    [
        (socket.gaierror(-3, "Temporary failure in name resolution"), "DNS servers"),
        (ExceptionGroup("", [OSError(101, "x"), socket.gaierror(-2, "x")]), "DNS servers"),
        (ConnectionRefusedError(111, "x"), "network and firewall"),
    ],
)
def test_remedy_of_dial_error_follows_from_its_cause(cause: Exception, remedy: str) -> None:
    error = DialError(describe_error(cause))
    error.__cause__ = cause
    assert remedy in error.remedy


def test_remedy_of_dial_error_without_cause_is_network() -> None:
    assert "network and firewall" in DialError("it did not answer within 10 s").remedy
