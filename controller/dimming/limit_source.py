"""A source that dims by words: a signed command, or a backend's limit. What it has said, until it is over.

Each word is for all steerable devices together, or for one EVSE; a newer one takes the older one's place.
One whose time has not come yet waits beside the one that holds: there is one of each, for the newest word
counts. What a newer word has replaced does not come back when that ends.

A way to the source that is lost ends no word: each carries its own end. Where the source has declared that
it must be heard (`lost_after_s`), its failsafe holds beside them once it has not been for so long, until
its duration is over or the way is there again. Then the site is on its own, as EEBUS LPC has it.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from controller.dimming.effective_limit import SourceLimit
from controller.model.observations import EvseRef


class SourceFailsafe(msgspec.Struct, frozen=True):
    """What holds while a source is lost: W for all steerable devices together, for so long (s)."""

    watts: float
    duration_s: float


class LimitSourceMemory(msgspec.Struct, frozen=True, kw_only=True):
    """What must survive a restart. Times are POSIX s."""

    limits: tuple[SourceLimit, ...] = ()
    failsafe: SourceFailsafe | None = None
    away_since: float | None = None


class LimitSource:
    """One source. It is away until it is told to be there. Times are s, monotonic."""

    def __init__(self, source: str, failsafe: SourceFailsafe, lost_after_s: float | None, now: float) -> None:
        self.source = source
        self._failsafe = failsafe
        self._lost_after_s = lost_after_s
        self._away_since: float | None = now
        self._words: dict[EvseRef | None, tuple[SourceLimit, ...]] = {}

    def say(self, word: SourceLimit, evses: Iterable[EvseRef], now: float) -> None:
        """The source says something, for these EVSEs each or, without any, for all together.

        Who lifts his limit for all together lifts all that he has set.
        """
        keys: set[EvseRef | None] = set(evses)
        if not keys:
            keys = {None} if word.watts is not None else {None, *self._words}
        for key in keys:
            standing = self._standing(key, now)
            kept = [each for each in standing if each.begins <= now < word.begins]
            self._words[key] = (*kept, replace(word, evse=key))
        self._words = {key: words for key in self._words if (words := self._standing(key, now))}

    def set_failsafe(self, failsafe: SourceFailsafe) -> None:
        """The source says what shall hold while it is lost, from now on."""
        self._failsafe = failsafe

    def reach(self, there: bool, now: float) -> None:
        """The way to the source is there, or is lost."""
        if there:
            self._away_since = None
        elif self._away_since is None:
            self._away_since = now

    def stands(self, now: float) -> bool:
        """Whether anything that it has said holds now, or will."""
        return any(self._standing(key, now) for key in self._words)

    def limits(self, now: float) -> tuple[SourceLimit, ...]:
        """What holds now, its failsafe with it."""
        said = [word for key in self._words for word in self._newest(key, now) if word.holds(now)]
        failsafe = self._lost()
        return (*said, failsafe) if failsafe is not None and failsafe.holds(now) else tuple(said)

    def deadline(self, now: float) -> float | None:
        """When `limits` changes by itself next; None: never."""
        spans = [word for words in self._words.values() for word in words]
        if (failsafe := self._lost()) is not None:
            spans.append(failsafe)
        moments = [at for span in spans for at in (span.begins, span.until) if at is not None and at > now]
        return min(moments, default=None)

    def memory(self, now: float, utc: float) -> LimitSourceMemory:
        """What to save."""
        later = utc - now
        return LimitSourceMemory(
            limits=tuple(_shifted(word, later) for key in self._words for word in self._standing(key, now)),
            failsafe=self._failsafe,
            away_since=None if self._away_since is None else self._away_since + later,
        )

    def recall(self, memory: LimitSourceMemory, now: float, utc: float) -> None:
        """Take over what was saved. A source that was there has as long to be heard again as any."""
        earlier = now - utc
        self._words = {}
        for word in memory.limits:
            shifted = _shifted(word, earlier)
            self._words[word.evse] = (*self._words.get(word.evse, ()), shifted)
        if memory.failsafe is not None:
            self._failsafe = memory.failsafe
        self._away_since = now
        if memory.away_since is not None:
            self._away_since = min(now, memory.away_since + earlier)

    def _lost(self) -> SourceLimit | None:
        """The failsafe's span, where the way to the source stays lost."""
        if self._lost_after_s is None or self._away_since is None:
            return None
        begins = self._away_since + self._lost_after_s
        return SourceLimit(
            source=self.source,
            watts=self._failsafe.watts,
            begins=begins,
            until=begins + self._failsafe.duration_s,
            proof="failsafe: the way to it is lost",
        )

    def _newest(self, key: EvseRef | None, now: float) -> tuple[SourceLimit, ...]:
        """The newest word whose time has come, over or not."""
        return tuple(word for word in self._words.get(key, ()) if word.begins <= now)[-1:]

    def _standing(self, key: EvseRef | None, now: float) -> tuple[SourceLimit, ...]:
        """What holds or will."""
        waiting = tuple(word for word in self._words.get(key, ()) if word.begins > now)
        return tuple(word for word in self._newest(key, now) if word.holds(now)) + waiting


def _shifted(word: SourceLimit, by_s: float) -> SourceLimit:
    until = None if word.until is None else word.until + by_s
    return replace(word, begins=word.begins + by_s, until=until)
