"""Who may command what: the rule that a backend's CALL must pass before it reaches a station's line.

That no two backends of a station hold the same exclusive command is seen to where the configuration is
read (`controller.config.backend_rules`); here each is held to its own list.
"""

from __future__ import annotations

import msgspec

from controller.ocpp.actions import plain

DENIED = "SecurityError"
"""The error code of a command that is not allowed (OCPP-J 1.6, section 4.2.3; 2.x Part 4, section 4.3)."""


class CommandPermissions(msgspec.Struct, frozen=True):
    """What `backend` may command; `action_patterns` None: all that there is, and all that there will be."""

    backend: str
    actions: frozenset[str] | None

    def refusal(self, station: str, action: str) -> str | None:
        """Why it may not command this at a station, in words that name the rule; None: it may.

        A signed command is judged by the action that is in it.
        """
        if self.actions is None or plain(action) in self.actions:
            return None
        return f'{self.backend} may not {action} {station}: see commands in [[backend]] "{self.backend}"'
