"""Step 4 of the path, its Postgres side: rows and progress in one transaction, by COPY."""

from collections.abc import Sequence
from typing import NamedTuple

import psycopg

from eventhub import failpoints
from eventhub.errors import UnavailableError
from eventhub.storage.pools import Connection, Pool


class Row(NamedTuple):
    """One event of the log. `body` is the value's exact bytes as text; `flaw` says why it is not in `body`.

    `revises` are the kinds of what a revision revises, None for everything else.
    """

    event_id: str
    match_id: str
    type: str
    lane: str
    occurred_at: str | None
    offset: int
    body: str | None
    flawed_bytes: bytes | None = None
    flaw: str | None = None
    revises: list[str] | None = None


class Stand(NamedTuple):
    """How far a partition is applied: the next offset, and the append time of the record before it (ms; or unknown)."""

    next_offset: int
    last_ms: int | None


class HistoryWriter:
    """Appends what the log says to `events`, each offset exactly once."""

    def __init__(self, pool: Pool, *, epoch: str, topic_id: str = "") -> None:
        self._pool, self._epoch, self._topic_id = pool, epoch, topic_id

    async def progress(self, partition: int, beginning: int = 0) -> Stand:
        """Where to go on; makes the row, so that a transaction has one to lock.

        `beginning` is the first offset that the log has. A new epoch of the same topic begins there, for below it the
        rows of the epochs before are right; or further down, where the epoch before had not come so far.
        """
        async with self._pool.connection() as connection:
            await connection.execute(
                "insert into log_progress (log_epoch, log_partition, topic_id, next_offset, continues, below)"
                " select %s, %s, %s, case when before.log_epoch is null then 0 else least(before.next_offset, %s) end,"
                "  before.continues || before.log_epoch, case when before.log_epoch is not null then %s end"
                " from (select) one left join lateral"
                "  (select log_epoch, next_offset, coalesce(continues, '{}') as continues from log_progress"
                "   where log_partition = %s and log_epoch <> %s and topic_id = nullif(%s, '')"
                "   order by updated_at desc limit 1) before on true"
                " on conflict (log_epoch, log_partition)"
                "  do update set topic_id = excluded.topic_id where log_progress.topic_id is null",
                (
                    *(self._epoch, partition, self._topic_id, beginning, beginning),
                    *(partition, self._epoch, self._topic_id),
                ),
            )
            found = await connection.execute(
                "select next_offset, last_ms from log_progress where log_epoch = %s and log_partition = %s",
                (self._epoch, partition),
            )
            row = await found.fetchone()
            assert row is not None
            return Stand(int(row[0]), row[1])

    async def apply(
        self,
        partition: int,
        rows: Sequence[Row],
        *,
        next_offset: int,
        last_ms: int | None = None,
        lost: tuple[int, int] | None = None,
    ) -> int:
        """Store these rows and the progress in one transaction; returns the progress that holds afterwards.

        `last_ms` is when the record before `next_offset` was appended; `lost`, offsets below the rows (both inclusive)
        that the broker no longer had, are noted as a gap. Rows below the stored progress are skipped: another owner
        has applied them. Raises UnavailableError when Postgres cannot be reached, and then nothing of it is stored or
        all of it; `psycopg.DataError` when a row cannot be taken (see `is_data_error`), and then nothing is stored.
        """
        async with self._pool.connection() as connection:
            async with connection.transaction():
                start = await self._lock(connection, partition)
                if next_offset <= start:
                    return start
                if lost is not None and lost[1] >= start:
                    await connection.execute(
                        "insert into log_gaps (log_epoch, log_partition, from_offset, to_offset)"
                        " values (%s, %s, %s, %s) on conflict do nothing",
                        (self._epoch, partition, max(start, lost[0]), lost[1]),
                    )
                await self._copy(connection, partition, [row for row in rows if row.offset >= start])
                await connection.execute(
                    "update log_progress set next_offset = %s, last_ms = %s, updated_at = now()"
                    " where log_epoch = %s and log_partition = %s",
                    (next_offset, last_ms, self._epoch, partition),
                )
                failpoints.reach("history.before_commit")
        failpoints.reach("history.after_commit")
        return next_offset

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
            "  body json, flawed_bytes bytea, flaw text, revises text[]) on commit delete rows"
        )
        async with connection.cursor() as cursor:
            async with cursor.copy(
                "copy incoming (event_id, match_id, type, lane, occurred_at, log_offset, body, flawed_bytes, flaw,"
                " revises) from stdin"
            ) as copy:
                for row in rows:
                    await copy.write_row(row)
        # An event that another life of the log had moves to where it stands in this one; else the first row stays.
        await connection.execute(
            "insert into events as stored (event_id, match_id, type, lane, occurred_at, log_epoch, log_partition,"
            "  log_offset, body, flawed_bytes, flaw, revises)"
            " select distinct on (event_id) event_id, match_id, type, lane, occurred_at, %s, %s, log_offset, body,"
            "  flawed_bytes, flaw, revises from incoming order by event_id, log_offset"
            " on conflict (event_id) do update set log_epoch = excluded.log_epoch,"
            "  log_partition = excluded.log_partition, log_offset = excluded.log_offset, body = excluded.body,"
            "  flawed_bytes = excluded.flawed_bytes, flaw = excluded.flaw, revises = excluded.revises"
            " where stored.log_epoch <> excluded.log_epoch",
            (self._epoch, partition),
        )


def is_data_error(error: BaseException) -> bool:
    """True when a row is at fault and not the server: the batch is then bisected."""
    return isinstance(error, psycopg.DataError | psycopg.IntegrityError)
