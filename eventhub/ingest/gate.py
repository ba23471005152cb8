"""What ingest takes at once, and how much of one key (path: step 1, before an item is looked at).

A request is taken whole or refused whole: nothing of a refused one was stored, so its source sends the same again.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, NoReturn

from eventhub.bucket import Bucket
from eventhub.errors import LimitError, UnavailableError
from eventhub.ingest.limits import Limits
from eventhub.ingest.pressure import Cause, overload

BYTES_BURST_S = 2
"""A key may send the bytes of so many seconds at once."""
WAIT_S = {"pending": 1.0, "late": 2.0, "turn": 5.0}
"""When to come again: what is in hand is gone soon, a node that is late is so for longer."""
WHY = {
    "pending": "this node waits for Kafka with too much in hand",
    "late": "this node has more to do than it can",
    "turn": "this node still has what was sent before on its way",
}


def _never() -> float:
    return 0.0


class _Pace(NamedTuple):
    """What one key may send now."""

    items: Bucket
    size: Bucket


class Gate:
    """Counts what is in hand on a node, and what each key sends to it. `late_s`: how late its loop is, in seconds.

    `clock` is in seconds and never goes back.
    """

    def __init__(
        self, limits: Limits, *, late_s: Callable[[], float] = _never, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.refused: Counter[tuple[str, str]] = Counter()
        """Requests that were refused, by source and cause: `pending`, `late`, `turn` or `key_rate`."""
        self.pending_bytes = 0
        self._limits, self._late_s, self._clock = limits, late_s, clock
        self._keys: dict[str, _Pace] = {}

    def look(self, source: str, key_id: str) -> None:
        """Before the body is read, so that a refusal costs little. Raises UnavailableError, LimitError."""
        self._bear(source, 0)
        self._pace(source, key_id, 1, 1)

    @contextmanager
    def hold(self, source: str, size_bytes: int) -> Iterator[None]:
        """Have a body in hand. Raises UnavailableError when that is too much for this source."""
        self._bear(source, size_bytes)
        self.pending_bytes += size_bytes
        try:
            yield
        finally:
            self.pending_bytes -= size_bytes

    def take(self, source: str, key_id: str, items: int, size_bytes: int) -> None:
        """Count a request against its key. Raises LimitError, and then it was not counted."""
        pace = self._pace(source, key_id, items, size_bytes)
        now = self._clock()
        pace.items.take(now, items)
        pace.size.take(now, size_bytes)

    def refuse(self, source: str, cause: Cause) -> NoReturn:
        """Count a refusal. Raises UnavailableError."""
        self.refused[source, cause] += 1
        raise UnavailableError(
            f"{WHY[cause]}, so it takes nothing from {source} now; send the same again, nothing of it was taken",
            retry_after_s=WAIT_S[cause],
            code="overloaded",
        )

    def _bear(self, source: str, size_bytes: int) -> None:
        # Alone, a request is taken however large it is: waiting would not make it smaller.
        whole = self.pending_bytes + size_bytes if self.pending_bytes else 0
        cause = overload(source, pending=whole / self._limits.max_pending_bytes, late_s=self._late_s())
        if cause is not None:
            self.refuse(source, cause)

    def _pace(self, source: str, key_id: str, items: int, size_bytes: int) -> _Pace:
        """The key's buckets, which have room for this. Raises LimitError."""
        limits, now = self._limits, self._clock()
        if key_id not in self._keys:
            self._keys[key_id] = _Pace(
                Bucket(limits.items_per_s, limits.items_burst, now),
                Bucket(limits.bytes_per_s, limits.bytes_per_s * BYTES_BURST_S, now),
            )
        pace = self._keys[key_id]
        waits = (
            (pace.items.wait_s(now, items), f"{limits.items_per_s} items/s with {limits.items_burst} at once"),
            (pace.size.wait_s(now, size_bytes), f"{limits.bytes_per_s} bytes/s"),
        )
        wait_s, most = max(waits)
        if wait_s:
            self.refused[source, "key_rate"] += 1
            raise LimitError(
                f"a key may send {most} to this node, and this would be more; send the same again, nothing was taken",
                retry_after_s=wait_s,
                code="key_rate",
            )
        return pace
