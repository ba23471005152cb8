"""Delay tiers: the log as it was some seconds ago, for those whose plan or whose match asks for it (path: tail).

A tier is a hub, sheets and a past of its own, fed from the tail with what was taken up long enough ago by the node's
monotonic clock. Everything that a client can read goes through one tier, so that no route, cursor or state is early:
what a tier has published is the horizon of all its reads, and a cursor above it waits.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from eventhub.delivery.feed import Feed
from eventhub.delivery.ports import Seed
from eventhub.errors import UnavailableError
from eventhub.record import LogRecord

Make = Callable[[float], Feed]
"""A feed of this delay, with nothing in it."""


class _Tier:
    """One delay, and what waits for its time to come."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.warm = False
        self._held: deque[tuple[float, Callable[[], None]]] = deque()
        self._due: asyncio.TimerHandle | None = None

    def open(self, seeds: dict[str, Seed], applied: dict[int, int], start: dict[int, int]) -> None:
        """The states that were found at the start are as early as events are: they wait like them."""
        self.feed.hub.begin(start)
        self.feed.sheets.begin(start)
        self._hold(partial(self._warm_up, seeds, applied))

    def take(self, records: Sequence[LogRecord]) -> None:
        """Records that the tail takes up now."""
        self._hold(partial(self._publish, records))

    def close(self) -> None:
        """Publish no more."""
        if self._due is not None:
            self._due.cancel()
        self._held.clear()

    def _hold(self, work: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        at = loop.time() + self.feed.delay_s
        self._held.append((at, work))
        if self._due is None:
            self._due = loop.call_at(at, self._release)

    def _release(self) -> None:
        self._due, loop = None, asyncio.get_running_loop()
        while self._held and self._held[0][0] <= loop.time():
            self._held.popleft()[1]()
        if self._held:
            self._due = loop.call_at(self._held[0][0], self._release)

    def _warm_up(self, seeds: dict[str, Seed], applied: dict[int, int]) -> None:
        self.feed.sheets.seed(seeds, applied)
        self.warm = True

    def _publish(self, records: Sequence[LogRecord]) -> None:
        for record in records:
            if record.kind.endswith(":state"):
                self.feed.sheets.fold(record)
        self.feed.hub.publish(records)


class Tiers:
    """The tiers of a node. `plans` are seconds by plan; `matches` the seconds that a match may ask for."""

    def __init__(self, plans: Mapping[str, float], matches: Iterable[float]) -> None:
        self._plans = dict(plans)
        self._delays = sorted({0.0, *self._plans.values(), *matches})
        self._live: Feed | None = None
        self._tiers: dict[float, _Tier] = {}

    def build(self, live: Feed, make: Make) -> None:
        """One tier for each delay; `live` is what has none."""
        self._live = live
        self._tiers = {delay_s: _Tier(make(delay_s)) for delay_s in self._delays if delay_s > 0}

    def open(self, seeds: dict[str, Seed], applied: dict[int, int], start: dict[int, int]) -> None:
        """Begin: the states there are now, and per partition the first offset that the tail will take up."""
        for tier in self._tiers.values():
            tier.open(seeds, applied, start)

    def take(self, records: Sequence[LogRecord]) -> None:
        """What the tail takes up, in its order."""
        for tier in self._tiers.values():
            tier.take(records)

    def close(self) -> None:
        """Publish no more."""
        for tier in self._tiers.values():
            tier.close()

    def delay_s(self, plan: str) -> float:
        """Of a plan, in seconds; one that is not named has the longest delay that is."""
        return self._plans.get(plan, max(self._plans.values(), default=0.0))

    def feed(self, plan: str, match_delay_s: float) -> Feed:
        """What a reader of this plan may see of matches with this delay: the larger of both decides.

        Raises UnavailableError until the node has been up for as long as the delay, and for a delay it has no tier for.
        """
        wanted_s = max(self.delay_s(plan), match_delay_s)
        assert self._live is not None
        if wanted_s <= 0:
            return self._live
        for delay_s, tier in self._tiers.items():
            if delay_s >= wanted_s:
                if not tier.warm:
                    raise UnavailableError(
                        f"this node has just started and shows nothing that is {delay_s:g} s old yet; wait, or try"
                        " another",
                        retry_after_s=min(delay_s, 5),
                    )
                return tier.feed
        raise UnavailableError(
            f"the match asks for a delay of {wanted_s:g} s, and this node has none so long; the operator adds it to"
            " delivery.match_delays_s",
            retry_after_s=60,
        )
