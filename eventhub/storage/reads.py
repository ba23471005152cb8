"""Reading history: pages of one match in log order, and how far history has come."""

from collections.abc import Sequence
from typing import NamedTuple

from eventhub.storage.pools import Pool


class Stored(NamedTuple):
    """An event of history: its log offset and the exact bytes that the log has."""

    offset: int
    body: bytes


class HistoryReader:
    """Reads of one epoch of the log. Every call raises UnavailableError within the pool's deadlines."""

    def __init__(self, pool: Pool, *, epoch: str) -> None:
        self._pool, self._epoch = pool, epoch

    async def progress(self, partition: int) -> int:
        """The next offset that is not stored yet; all below are."""
        async with self._pool.connection() as connection:
            found = await connection.execute(
                "select next_offset from log_progress where log_epoch = %s and log_partition = %s",
                (self._epoch, partition),
            )
            row = await found.fetchone()
            return int(row[0]) if row is not None else 0

    async def page(self, match_id: str, *, after: int, limit: int, types: Sequence[str] = ()) -> list[Stored]:
        """Events of a match above an offset, ascending, at most `limit`; only of `types` when any are given."""
        async with self._pool.connection() as connection:
            found = await connection.execute(
                "select log_offset, coalesce(convert_to(body::text, 'UTF8'), flawed_bytes) from events"
                " where match_id = %s and log_epoch = %s and log_offset > %s"
                "   and (cardinality(%s::text[]) = 0 or type = any(%s::text[]))"
                " order by log_offset limit %s",
                (match_id, self._epoch, after, list(types), list(types), limit),
            )
            return [Stored(int(offset), bytes(body)) for offset, body in await found.fetchall()]
