"""Routing table: from the configuration, from open links, and from verified topology.

A destination has hops: links over which it is reached, each with a priority (the LOWEST is taken first) and
a weight among those of the same priority. A hop is valid while its link is open and until its end. Several
nodes may have one name: a group of the configuration, or CSMS. A CALL goes to one of them (anycast), a SEND
to a group goes to each of its members (multicast).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec

MAX_LEARNED = 2000
"""Destinations that all other nodes together may report. More are rejected."""


class Hop(msgspec.Struct, frozen=True):
    """A route: over which link, until when (monotonic s); `only` for messages of one link."""

    link: str
    priority: int = 0
    weight: int = 1
    until: float = math.inf
    only: str | None = None


class Routes:
    """Routing table. `configured`: hops by destination; `groups`: members by the name of the group."""

    def __init__(
        self,
        configured: Mapping[str, Sequence[Hop]],
        groups: Mapping[str, Sequence[str]],
        dice: random.Random,
    ) -> None:
        self._configured = configured
        self._groups = groups
        self._dice = dice
        self._links: dict[str, tuple[tuple[str, ...], Hop]] = {}
        self._neighbors: dict[str, tuple[Hop, ...]] = {}
        """By the name of its other end, the hops over open links."""
        self._learned: dict[str, dict[str, Hop]] = {}
        """By the link over which they were reported, then by destination."""

    def set_configured(
        self, configured: Mapping[str, Sequence[Hop]], groups: Mapping[str, Sequence[str]]
    ) -> None:
        """Use other configured hops and groups."""
        self._configured, self._groups = configured, groups

    def link_up(self, hop: Hop, *names: str) -> None:
        """Add an open link; its other end has these names."""
        self._links[hop.link] = (names, hop)
        self._index_links()

    def link_down(self, link: str) -> None:
        """Remove a link and all that was learned over it."""
        self._links.pop(link, None)
        self._learned.pop(link, None)
        self._index_links()

    def _index_links(self) -> None:
        """Index the open links by name: a route is looked up for each message, links change rarely."""
        found: dict[str, list[Hop]] = {}
        for names, hop in self._links.values():
            for name in names:
                found.setdefault(name, []).append(hop)
        self._neighbors = {name: tuple(hops) for name, hops in found.items()}

    def learn(self, link: str, hops: Mapping[str, Hop]) -> bool:
        """Replace what the node at the end of a link reports as reachable.

        False, and nothing changes, if it is too much.
        """
        others = sum(len(each) for name, each in self._learned.items() if name != link)
        if others + len(hops) > MAX_LEARNED:
            return False
        self._learned[link] = dict(hops)
        return True

    def drop_old(self, now: float) -> bool:
        """Remove what was learned and has ended; returns True if there was any."""
        gone = self.next_end <= now
        for link, hops in self._learned.items():
            self._learned[link] = {name: hop for name, hop in hops.items() if hop.until > now}
        return gone

    @property
    def next_end(self) -> float:
        """Time at which the first learned route ends; infinity if there is none."""
        return min((hop.until for hops in self._learned.values() for hop in hops.values()), default=math.inf)

    def members(self, group: str) -> Sequence[str]:
        """Return the members of a group; empty if it is none."""
        return self._groups.get(group, ())

    def choose(self, destination: str, now: float, is_usable: Callable[[str], bool]) -> Hop | None:
        """Return the hop to take among those over a usable link; None if there is no route."""
        best = self._best(destination, now, is_usable)
        if len(best) > 1:
            return self._dice.choices(best, [max(1, hop.weight) for hop in best])[0]
        return best[0] if best else None

    def best(self, destination: str, now: float, is_usable: Callable[[str], bool]) -> set[str]:
        """Return the links that `choose` chooses from."""
        return {hop.link for hop in self._best(destination, now, is_usable)}

    def _best(self, destination: str, now: float, is_usable: Callable[[str], bool]) -> list[Hop]:
        hops = [hop for hop in self._hops(destination, now) if is_usable(hop.link)]
        if len(hops) < 2:
            return hops
        lowest = min(hop.priority for hop in hops)
        return [hop for hop in hops if hop.priority == lowest]

    def reachable(self, now: float, neighbor: str | None = None) -> dict[str, int]:
        """Return the best priority of each destination that is reached, for a neighbor those it may use.

        A neighbor is never sent a route that leads back over itself: it would keep it after the route
        has gone, and both would go on reporting it to each other.
        """
        priorities = {
            name: [hop.priority for hop in self._hops(name, now) if _is_for(hop, neighbor)]
            for name in self._names()
        }
        return {name: min(each) for name, each in priorities.items() if each}

    def neighbors(self, now: float) -> dict[str, dict[str, int]]:
        """Return by link the best priority of each destination, virtual channels apart."""
        found: dict[str, dict[str, int]] = {
            link: {} for link, (_, hop) in sorted(self._links.items()) if hop.only is None
        }
        for name in self._names():
            for hop in sorted(self._hops(name, now), key=lambda hop: -hop.priority):
                if hop.link in found:
                    found[hop.link][name] = hop.priority
        return found

    def _names(self) -> list[str]:
        names = {name for peer, _ in self._links.values() for name in peer} | self._configured.keys()
        return sorted(names.union(*self._learned.values()))

    def _hops(self, destination: str, now: float) -> Iterable[Hop]:
        """Return all valid hops; the same link may come twice, which does no harm."""
        if self._learned or destination in self._configured:
            return self._all_hops(destination, now)
        return self._neighbors.get(destination, ())

    def _all_hops(self, destination: str, now: float) -> Iterator[Hop]:
        for hop in self._configured.get(destination, ()):
            if hop.link in self._links:
                yield hop
        yield from self._neighbors.get(destination, ())
        for hops in self._learned.values():
            hop_learned = hops.get(destination)
            if hop_learned is not None and hop_learned.until > now:
                yield hop_learned


def _is_for(hop: Hop, neighbor: str | None) -> bool:
    return neighbor is None or (hop.link != neighbor and hop.only in (None, neighbor))
