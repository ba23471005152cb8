"""What a key's owner sees of its own feed on this node: counts, lateness, and what was refused last. No I/O."""

from collections import deque
from collections.abc import Sequence
from datetime import datetime

import msgspec

from eventhub.auth import Key
from eventhub.errors import EventhubError

REJECTS = 100
SAMPLES = 1000
SAMPLED = 8
"""Of each request at most this many events are sampled for lateness."""
ITEM_CHARS = 300


class Reject(msgspec.Struct, frozen=True):
    """A refused item, or with no index a refused request; `item` is how it began."""

    at: datetime
    index: int | None
    code: str
    pointer: str
    detail: str
    item: str


class Lateness(msgspec.Struct, frozen=True):
    """From when it occurred to when it was accepted, in seconds, over the last events that were sampled."""

    p50: float
    p99: float
    max: float


class KeyStatus(msgspec.Struct, frozen=True):
    """The answer of `GET /v1/ingest/status`. `duplicates` are ids that this node had taken before."""

    node: str
    key: str
    source: str
    requests: int
    accepted: int
    duplicates: int
    rejected: int
    codes: dict[str, int]
    lateness_s: Lateness | None
    last_event_at: datetime | None
    rejects: list[Reject]


class _Account:
    def __init__(self) -> None:
        self.requests = self.accepted = self.duplicates = self.rejected = 0
        self.codes: dict[str, int] = {}
        self.late_s: deque[float] = deque(maxlen=SAMPLES)
        self.last_event_at: datetime | None = None
        self.rejects: deque[Reject] = deque(maxlen=REJECTS)


class Accounts:
    """Counts by key since this node started."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._by_key: dict[str, _Account] = {}

    def took(self, key: Key, occurred: Sequence[datetime], count: int, duplicates: int, now: datetime) -> None:
        """A request of which `count` items are durable; `occurred` are the moments of all of them."""
        account = self._of(key)
        account.requests += 1
        account.accepted += count
        account.duplicates += duplicates
        if occurred:
            account.last_event_at = now
            step = max(1, len(occurred) // SAMPLED)
            account.late_s.extend((now - moment).total_seconds() for moment in occurred[::step])

    def refused(self, key: Key, error: EventhubError, index: int | None, item: bytes, now: datetime) -> None:
        """An item, or a whole request, that was refused."""
        account = self._of(key)
        account.rejected += 1
        account.codes[error.name] = account.codes.get(error.name, 0) + 1
        began = item[: ITEM_CHARS * 4].decode(errors="replace")[:ITEM_CHARS]
        account.rejects.append(Reject(now, index, error.name, error.pointer or "", error.detail, began))

    def status(self, key: Key) -> KeyStatus:
        """What is known of this key; the newest refusal first."""
        account = self._of(key)
        return KeyStatus(
            node=self._node,
            key=key.id,
            source=key.source,
            requests=account.requests,
            accepted=account.accepted,
            duplicates=account.duplicates,
            rejected=account.rejected,
            codes=dict(account.codes),
            lateness_s=_lateness(account.late_s),
            last_event_at=account.last_event_at,
            rejects=list(reversed(account.rejects)),
        )

    def _of(self, key: Key) -> _Account:
        return self._by_key.setdefault(key.id, _Account())


def _lateness(late_s: Sequence[float]) -> Lateness | None:
    if not late_s:
        return None
    ordered = sorted(late_s)
    return Lateness(
        round(ordered[len(ordered) // 2], 3), round(ordered[len(ordered) * 99 // 100], 3), round(ordered[-1], 3)
    )
