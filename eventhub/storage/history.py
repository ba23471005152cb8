"""Step 4 of the path, its Postgres side: rows and progress in one transaction, by COPY."""

from collections.abc import Sequence
from typing import NamedTuple

import psycopg

from eventhub.errors import UnavailableError
from eventhub.storage.pools import Connection, Pool


class Row(NamedTuple):
    """One event of the log. `body` is the value's exact bytes as text; `flaw` says why it is not in `body`."""

    event_id: str
    match_id: str
    type: str
    lane: str
    occurred_at: str | None
    offset: int
    body: str | None
    flawed_bytes: bytes | None = None
    flaw: str | None = None


class HistoryWriter:
    """Appends what the log says to `events`, each offset exactly once."""

    def __init__(self, pool: Pool, *, epoch: str) -> None:
        self._pool, self._epoch = pool, epoch

    async def progress(self, partition: int) -> int:
        """The next offset to apply; makes the row, so that a transaction has one to lock."""
        async with self._pool.connection() as connection:
            await connection.execute(
                "insert into log_progress (log_epoch, log_partition, next_offset) values (%s, %s, 0)"
                " on conflict do nothing",
                (self._epoch, partition),
            )
            found = await connection.execute(
                "select next_offset from log_progress where log_epoch = %s and log_partition = %s",
                (self._epoch, partition),
            )
            row = await found.fetchone()
            assert row is not None
            return int(row[0])

    async def apply(self, partition: int, rows: Sequence[Row], *, next_offset: int) -> int:
        """Store these rows and the progress in one transaction; returns the progress that holds afterwards.

        Rows below the stored progress are skipped: another owner has applied them. Raises UnavailableError when
        Postgres cannot be reached, and then nothing of it is stored or all of it; `psycopg.DataError` when a row
        cannot be taken (see `is_data_error`), and then nothing is stored.
        """
        async with self._pool.connection() as connection:
            async with connection.transaction():
                start = await self._lock(connection, partition)
                if next_offset <= start:
                    return start
                await self._copy(connection, partition, [row for row in rows if row.offset >= start])
                await connection.execute(
                    "update log_progress set next_offset = %s, updated_at = now()"
                    " where log_epoch = %s and log_partition = %s",
                    (next_offset, self._epoch, partition),
                )
        return next_offset

    async def note_gap(self, partition: int, first: int, last: int) -> None:
        """Remember offsets (both inclusive) that the broker no longer had."""
        async with self._pool.connection() as connection:
            await connection.execute(
                "insert into log_gaps (log_epoch, log_partition, from_offset, to_offset) values (%s, %s, %s, %s)"
                " on conflict do nothing",
                (self._epoch, partition, first, last),
            )

    async def _lock(self, connection: Connection, partition: int) -> int:
        found = await connection.execute(
            "select next_offset from log_progress where log_epoch = %s and log_partition = %s for update",
            (self._epoch, partition),
        )
        row = await found.fetchone()
        if row is None:
            raise UnavailableError(f"log_progress has no row of partition {partition}: it was removed; starting over")
        return int(row[0])

    async def _copy(self, connection: Connection, partition: int, rows: Sequence[Row]) -> None:
        if not rows:
            return
        # A temporary table, because COPY knows no ON CONFLICT; made once a connection, emptied at each commit.
        await connection.execute(
            "create temporary table if not exists incoming"
            ' (event_id uuid, match_id text, type text, lane "char", occurred_at timestamptz, log_offset bigint,'
            "  body json, flawed_bytes bytea, flaw text) on commit delete rows"
        )
        async with connection.cursor() as cursor:
            async with cursor.copy(
                "copy incoming (event_id, match_id, type, lane, occurred_at, log_offset, body, flawed_bytes, flaw)"
                " from stdin"
            ) as copy:
                for row in rows:
                    await copy.write_row(row)
        await connection.execute(
            "insert into events (event_id, match_id, type, lane, occurred_at, log_epoch, log_partition, log_offset,"
            "  body, flawed_bytes, flaw)"
            " select event_id, match_id, type, lane, occurred_at, %s, %s, log_offset, body, flawed_bytes, flaw"
            " from incoming on conflict do nothing",
            (self._epoch, partition),
        )


def is_data_error(error: BaseException) -> bool:
    """True when a row is at fault and not the server: the batch is then bisected."""
    return isinstance(error, psycopg.DataError | psycopg.IntegrityError)
