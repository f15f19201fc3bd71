"""State of an EVSE by the states of its connectors (OCPP 2.0.1 Part 1, 7.4: one serves a car at a time).

A station reports each connector by itself, also those that are free while a car charges at another one.
"""

from __future__ import annotations

from controller.model.observations import EvseState

MOST_CONNECTORS = 64
"""Connectors of a station whose states are stored: the oldest is dropped."""
_RANKS = (
    EvseState.PREPARING,
    EvseState.RESERVED,
    EvseState.AVAILABLE,
    EvseState.UNKNOWN,
    EvseState.UNAVAILABLE,
    EvseState.FAULTED,
)
"""States of connectors: that of the EVSE is the first of those that one has."""


class ConnectorStates:
    """States of the connectors of one station. `PREPARING` is Occupied."""

    def __init__(self) -> None:
        self._states: dict[tuple[int, int], EvseState] = {}
        self._in_use: dict[int, int] = {}

    def set_in_use(self, evse: int, connector: int) -> None:
        """Note that the transaction of an EVSE is at this connector."""
        if self._in_use.get(evse) != connector:
            if len(self._in_use) >= MOST_CONNECTORS:
                self._in_use.clear()
            self._in_use[evse] = connector
            self._states[evse, connector] = EvseState.PREPARING

    def find_in_use(self, evse: int) -> int | None:
        """Return the connector at which the transaction of an EVSE is; None where none is known."""
        return self._in_use.get(evse)

    def on_transaction_ended(self, evse: int) -> None:
        """Note that no transaction is at any connector of an EVSE."""
        self._in_use.pop(evse, None)

    def on_connector_state(self, evse: int, connector: int, state: EvseState) -> EvseState:
        """Take in the state of one connector; return that of its EVSE."""
        key = (evse, connector)
        if key not in self._states and len(self._states) >= MOST_CONNECTORS:
            self._states.pop(next(iter(self._states)))
        self._states[key] = state
        in_use = self._in_use.get(evse)
        if in_use is not None:
            return self._states.get((evse, in_use), EvseState.PREPARING)
        states = {each for (number, _), each in self._states.items() if number == evse}
        return next(each for each in _RANKS if each in states)
