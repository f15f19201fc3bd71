"""What the controller answers to a command, and what it tells of its effect: both signed with its own key.

`command` is the SHA-256 of the command's bytes as they were received: an answer cannot be passed off as
that to another command, and it is there for bytes that were no command at all.
"""

from __future__ import annotations

import enum
import hashlib
from datetime import UTC, datetime

import msgspec

ANSWER_CONTEXT = "urn:local-controller:dim:acknowledgement:1"
EFFECT_CONTEXT = "urn:local-controller:dim:effect:1"


class CommandStatus(enum.StrEnum):
    """What becomes of a command."""

    ACCEPTED = "accepted"
    PARTLY = "partly"
    """It is taken, and something else than it asked for holds; `detail` says why."""
    REFUSED = "refused"


class _Told(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    context: str = msgspec.field(name="@context")
    command: str
    command_id: str
    connection_point: str
    time: str


class Acknowledgement(_Told, frozen=True, kw_only=True):
    """The answer. `limit_w` is what holds because of the command (W); `power_before_w` was measured."""

    status: CommandStatus
    reason: str | None = None
    detail: str = ""
    limit_w: float | None = msgspec.field(name="limitW", default=None)
    begins: str | None = msgspec.field(name="from", default=None)
    ends: str | None = msgspec.field(name="until", default=None)
    power_before_w: float | None = msgspec.field(name="powerBeforeW", default=None)


class Effect(_Told, frozen=True, kw_only=True):
    """What came of a command, measured. `reached`: the draw is under the limit, `time_to_effect_s` after it.

    Powers (W) are the grid draw of the steerable devices; None where no meter and no station tells it.
    """

    reached: bool
    limit_w: float | None = msgspec.field(name="limitW", default=None)
    power_before_w: float | None = msgspec.field(name="powerBeforeW", default=None)
    power_after_w: float | None = msgspec.field(name="powerAfterW", default=None)
    time_to_effect_s: float | None = msgspec.field(name="timeToEffectS", default=None)


def digest(received: bytes) -> str:
    """How a command is named by its bytes."""
    return hashlib.sha256(received).hexdigest()


def moment(utc: float) -> str:
    """POSIX seconds as ISO 8601 in UTC, with ms."""
    return datetime.fromtimestamp(utc, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
