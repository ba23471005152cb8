"""Ids that this node has heard of, with the fingerprint of their bytes: for the early 422 and the count of repeats.

What came through this node counts until the log says otherwise. Two nodes may take one id with different bytes at the
same time; which of them stands is decided by the order of the raw topic, so the log's word replaces this node's own.
"""

from collections.abc import Iterable, Mapping

from eventhub.record import LogRecord

KNOWN_MAX = 200_000


class Known:
    """The newest ids, packed, and their fingerprints; the oldest are forgotten."""

    def __init__(self, most: int = KNOWN_MAX) -> None:
        self._most = most
        self._prints: dict[bytes, bytes] = {}

    def get(self, packed_id: bytes, otherwise: bytes) -> bytes:
        """The fingerprint that is known of this id."""
        return self._prints.get(packed_id, otherwise)

    def note(self, fresh: Mapping[bytes, bytes]) -> int:
        """Take the ids of a request that is durable; returns how many were known before."""
        before = len(self._prints)
        self._prints.update(fresh)
        repeated = len(fresh) - (len(self._prints) - before)
        self._trim()
        return repeated

    def learn(self, records: Iterable[LogRecord]) -> None:
        """Take the ids of events that are on the log; states are the platform's own and cannot come from outside."""
        for record in records:
            if record.value is not None and record.kind[2:] != "state":
                self._prints[record.event_id] = record.fingerprint
        self._trim()

    def _trim(self) -> None:
        while len(self._prints) > self._most:
            del self._prints[next(iter(self._prints))]
