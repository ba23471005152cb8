"""The ring: the last events of the log in memory, bounded by bytes over all partitions.

It answers what came after an offset in one match without looking at another match.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Mapping

from eventhub.record import LogRecord

OVERHEAD_BYTES = 300
"""What a held record costs beside its value: the tuple, its match's list and the order of eviction."""


class _Track:
    """The held records of one match; `head` is the index of the first that is not evicted."""

    __slots__ = ("dropped", "head", "records")

    def __init__(self) -> None:
        self.records: list[LogRecord | None] = []
        self.head = 0
        self.dropped = -1


class Ring:
    """Records in log order, the oldest evicted first, over all partitions alike."""

    def __init__(self, limit_bytes: int, partition_of: Callable[[str], int]) -> None:
        self.size_bytes = 0
        self.newest_ms = 0
        """When the last record was appended to the log, by its clock."""
        self._limit_bytes = limit_bytes
        self._partition_of = partition_of
        self._order: deque[LogRecord] = deque()
        self._tracks: dict[str, _Track] = {}
        self._start: dict[int, int] = {}
        self._base: dict[int, int] = {}

    def begin(self, start: Mapping[int, int]) -> None:
        """From here on every record is appended: per partition the first offset to come."""
        self._start = dict(start)
        self._base = dict(start)

    def append(self, record: LogRecord) -> None:
        """Hold an event; offsets ascend within a partition. Fences and markers (value None) need not be held."""
        if record.value is None:
            return
        track = self._tracks.get(record.match_id)
        if track is None:
            track = self._tracks[record.match_id] = _Track()
        self.newest_ms = record.appended_ms
        track.records.append(record)
        self._order.append(record)
        self.size_bytes += len(record.value) + OVERHEAD_BYTES
        while self.size_bytes > self._limit_bytes:
            self._evict()

    def after(self, match_id: str, offset: int, limit: int) -> list[LogRecord]:
        """The first held records of a match above an offset, ascending, at most `limit`."""
        track = self._tracks.get(match_id)
        if track is None:
            return []
        index = bisect_right(track.records, offset, lo=track.head, key=_offset)
        return track.records[index : index + limit]  # type: ignore[return-value]  # only evicted places, below head, are None

    def before(self, match_id: str, offset: int, end: int) -> list[LogRecord]:
        """The held records of a match above an offset, up to and with `end`, ascending."""
        track = self._tracks.get(match_id)
        if track is None:
            return []
        first = bisect_right(track.records, offset, lo=track.head, key=_offset)
        last = bisect_right(track.records, end, lo=track.head, key=_offset)
        return track.records[first:last]  # type: ignore[return-value]  # as above

    def start(self, partition: int) -> int:
        """The first offset from which on everything in the partition is held."""
        return self._start[partition]

    def covers(self, match_id: str, offset: int) -> bool:
        """Whether every event of the match above this offset is held.

        True for more than `start` says: what was evicted since may all belong to other matches.
        """
        track = self._tracks.get(match_id)
        dropped = -1 if track is None else track.dropped
        return offset >= dropped and offset >= self._base[self._partition_of(match_id)] - 1

    def _evict(self) -> None:
        record = self._order.popleft()
        self.size_bytes -= len(record.value or b"") + OVERHEAD_BYTES
        self._start[record.partition] = record.offset + 1
        track = self._tracks[record.match_id]
        track.records[track.head] = None
        track.head += 1
        track.dropped = record.offset
        # Cut in large pieces only: cutting a list moves all that is behind.
        if track.head >= 256 and track.head * 2 >= len(track.records):
            del track.records[: track.head]
            track.head = 0


def _offset(record: LogRecord | None) -> int:
    return record.offset if record is not None else -1
