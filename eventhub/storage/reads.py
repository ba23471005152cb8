"""Reading history: pages of one match in log order, and how far history has come."""

from collections.abc import Sequence
from typing import NamedTuple

from eventhub.storage.pools import Pool


class Stored(NamedTuple):
    """An event of history: its log offset, the exact bytes that the log has, and the kinds of what it revises."""

    offset: int
    body: bytes
    revises: str


class HistoryReader:
    """Reads of one epoch of the log. Every call raises UnavailableError within the pool's deadlines."""

    def __init__(self, pool: Pool, *, epoch: str) -> None:
        self._pool, self._epoch = pool, epoch
        self._below = 0

    async def progress(self, partition: int) -> int:
        """The next offset that is not stored yet; all below are."""
        async with self._pool.connection() as connection:
            found = await connection.execute(
                "select next_offset, below from log_progress where log_epoch = %s and log_partition = %s",
                (self._epoch, partition),
            )
            row = await found.fetchone()
            if row is None:
                return 0
            self._below = max(self._below, row[1] or 0)
            return int(row[0])

    async def lost_above(self, partition: int, after: int) -> int | None:
        """The last offset above `after` that history never got because the log no longer had it; None: it got all."""
        async with self._pool.connection() as connection:
            found = await connection.execute(
                "select max(to_offset) from log_gaps"
                " join log_progress now on now.log_epoch = %s and now.log_partition = log_gaps.log_partition"
                " where log_gaps.log_partition = %s and to_offset > %s and (log_gaps.log_epoch = now.log_epoch"
                "  or (log_gaps.log_epoch = any(now.continues) and to_offset < now.below))",
                (self._epoch, partition, after),
            )
            row = await found.fetchone()
            return int(row[0]) if row is not None and row[0] is not None else None

    async def page(self, match_id: str, *, after: int, limit: int, types: Sequence[str] = ()) -> list[Stored]:
        """Events of a match above an offset, ascending, at most `limit`; of `types`, if given, and what revises them.

        Also those of the epochs that this one continues; ask for the `progress` first.
        """
        older = await self._older(match_id, after, limit, types) if after + 1 < self._below else []
        limit -= len(older)
        async with self._pool.connection() as connection:
            found = await connection.execute(
                "select log_offset, coalesce(convert_to(body::text, 'UTF8'), flawed_bytes), revises from events"
                " where match_id = %s and log_epoch = %s and log_offset > %s"
                "   and (cardinality(%s::text[]) = 0 or type = any(%s::text[]) or revises && %s::text[])"
                " order by log_offset limit %s",
                (match_id, self._epoch, after, list(types), list(types), _kinds(types), limit),
            )
            return older + [_stored(*row) for row in await found.fetchall()]

    async def _older(self, match_id: str, after: int, limit: int, types: Sequence[str]) -> list[Stored]:
        async with self._pool.connection() as connection:
            found = await connection.execute(
                "select log_offset, coalesce(convert_to(body::text, 'UTF8'), flawed_bytes), revises from events"
                " join log_progress now on now.log_epoch = %s and now.log_partition = events.log_partition"
                " where match_id = %s and events.log_epoch = any(now.continues) and log_offset < now.below"
                "   and log_offset > %s"
                "   and (cardinality(%s::text[]) = 0 or type = any(%s::text[]) or revises && %s::text[])"
                " order by log_offset limit %s",
                (self._epoch, match_id, after, list(types), list(types), _kinds(types), limit),
            )
            return [_stored(*row) for row in await found.fetchall()]


def _stored(offset: int, body: bytes, revises: list[str] | None) -> Stored:
    return Stored(offset, bytes(body), ",".join(revises or ()))


def _kinds(types: Sequence[str]) -> list[str]:
    """The types in each lane, as the column `revises` has them."""
    return [f"{lane}:{name}" for name in types for lane in "cnb"]
