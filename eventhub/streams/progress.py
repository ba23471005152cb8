"""Progress of one partition in one family: what its owner has applied, beside where its topics end. Pure.

A partition is behind while its topics reach further than what is applied. Progress is an applied offset never applied
before; that records are fetched, or that the same ones are done again and again, is none. All times are seconds of one
monotonic clock, given as arguments.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from eventhub.kafka import Bounds

SAMPLES = 64


class Report(msgspec.Struct, frozen=True):
    """One partition at one moment.

    `next`: per topic the offset to be applied next. `lag`: records not applied yet, None before the first acquisition;
    `lag_s`: how long the oldest of them has been there, to the second or two between two looks at the topics' ends.
    `stalled_s`: for how long there was something to do, no progress, and nothing to blame (`blocked_by`).
    """

    state: str
    next: dict[str, int]
    lag: int | None
    lag_s: float
    progressed_s_ago: float
    stalled_s: float
    blocked_by: list[str]
    blocked_s: float


class _Topic:
    """How far one topic of the partition is applied, and where it ended at some moments."""

    def __init__(self, now: float) -> None:
        self.next: int | None = None
        self.moved_at = now
        self._furthest = -1
        self._beginning = 0
        self._ends: list[tuple[float, int]] = []

    def reach(self, offset: int, now: float) -> None:
        self.next = offset
        # Done again after a failure is no progress: else a record that always fails would hide behind those before it.
        if offset > self._furthest:
            self._furthest, self.moved_at = offset, now

    def look(self, bounds: Bounds, at: float) -> None:
        self._beginning = bounds.beginning
        # A topic made anew, or cut: the furthest that was ever reached will not come again.
        self._furthest = min(self._furthest, bounds.end)
        self._ends = [sample for sample in self._ends[:-1] if sample[1] > self._done] + self._ends[-1:]
        if self._ends and bounds.end < self._ends[-1][1]:
            self._ends.clear()
        if not self._ends or bounds.end > self._ends[-1][1]:
            self._ends.append((at, bounds.end))
        if len(self._ends) > SAMPLES:
            # Coarser with age, but the oldest and the newest stay.
            self._ends = [*self._ends[:-1:2], self._ends[-1]]

    @property
    def lag(self) -> int | None:
        if self.next is None or not self._ends:
            return None
        return max(0, self._ends[-1][1] - self._done)

    @property
    def behind_since(self) -> float | None:
        """When the oldest record that is not applied was first seen; None: everything is applied."""
        return next((at for at, end in self._ends if end > self._done), None) if self.lag else None

    @property
    def _done(self) -> int:
        # What retention took is not there to be applied.
        return max(self.next or 0, self._beginning)


class Progress:
    """Kept for as long as the partition stays on this node, over crashes of the family too."""

    def __init__(self, topics: Iterable[str], now: float) -> None:
        self._topics = {topic: _Topic(now) for topic in topics}
        self._unready_since: float | None = now
        self._excused_at = now
        self._blocked_since: float | None = None

    def reach(self, offsets: Mapping[str, int], now: float) -> None:
        """The owner's state stands at these offsets, durably."""
        for topic, offset in offsets.items():
            self._topics[topic].reach(offset, now)

    def look(self, bounds: Mapping[str, Bounds], at: float) -> None:
        """What Kafka said of these topics when it was asked at that time."""
        for topic, found in bounds.items():
            self._topics[topic].look(found, at)

    def excuse(self, now: float) -> None:
        """What did not happen until now is nobody's fault."""
        self._excused_at = now

    def judge(self, *, ready: bool, proving: bool, missing: Sequence[str], now: float) -> Report:
        """Where the partition stands; to be called about once a second.

        `ready` and `proving` are the owner's; `missing` names what the family needs and is away.
        """
        self._unready_since = None if ready else self._unready_since if self._unready_since is not None else now
        behind = [(found, topic) for topic in self._topics.values() if (found := topic.behind_since) is not None]
        since = [max(topic.moved_at, found) for found, topic in behind]
        if self._unready_since is not None:
            since.append(self._unready_since)
        # Without Kafka nobody knows whether there is something to do.
        blocked = bool(missing) and (bool(since) or "kafka" in missing)
        if blocked:
            self.excuse(now)
        begun = self._blocked_since if self._blocked_since is not None else now
        self._blocked_since = begun if blocked else None
        lags = [topic.lag for topic in self._topics.values()]
        return Report(
            state=_state(blocked=blocked, ready=ready, proving=proving, behind=bool(behind)),
            next={name: topic.next for name, topic in self._topics.items() if topic.next is not None},
            lag=None if None in lags else sum(lag or 0 for lag in lags),
            lag_s=_s(now - min((found for found, _ in behind), default=now)),
            progressed_s_ago=_s(now - max(topic.moved_at for topic in self._topics.values())),
            stalled_s=_s(now - max(min(since), self._excused_at)) if since and not blocked else 0.0,
            blocked_by=list(missing) if blocked else [],
            blocked_s=_s(now - begun) if blocked else 0.0,
        )


def _state(*, blocked: bool, ready: bool, proving: bool, behind: bool) -> str:
    if blocked:
        return "blocked"
    if not ready:
        return "waiting for proof" if proving else "acquiring"
    return "working" if behind else "idle"


def _s(seconds: float) -> float:
    return round(max(0.0, seconds), 1)
