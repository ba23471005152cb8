"""History stores each offset once, with the exact bytes, and refuses a schema that it does not know."""

import asyncio

import psycopg
import pytest

from eventhub.errors import ConfigError, UnavailableError
from eventhub.storage import HistoryReader, HistoryWriter, Pool, Row, Stand, is_data_error, migrate

EPOCH = "0123abcd"


def row(offset: int, body: str = '{ "a":1.0}') -> Row:
    return Row(f"{offset:032x}", "m1", "pass", "n", "2026-07-01T18:00:00Z", offset, body)


async def test_rows_and_progress_are_stored_together_and_bytes_are_kept(pool: Pool) -> None:
    writer, reader = HistoryWriter(pool, epoch=EPOCH), HistoryReader(pool, epoch=EPOCH)
    assert await writer.progress(0) == Stand(0, None)
    assert await writer.apply(0, [row(0), row(1), row(3)], next_offset=5) == 5
    assert await reader.progress(0) == 5
    assert [(s.offset, s.body) for s in await reader.page("m1", after=0, limit=10)] == [
        (1, b'{ "a":1.0}'),
        (3, b'{ "a":1.0}'),
    ]


async def test_what_another_owner_has_applied_is_skipped(pool: Pool) -> None:
    writer, reader = HistoryWriter(pool, epoch=EPOCH), HistoryReader(pool, epoch=EPOCH)
    await writer.progress(0)
    await writer.apply(0, [row(0), row(1)], next_offset=2)
    assert await writer.apply(0, [row(1), row(2)], next_offset=3) == 3
    assert await writer.apply(0, [row(0)], next_offset=1) == 3
    assert [s.offset for s in await reader.page("m1", after=-1, limit=10)] == [0, 1, 2]


async def test_two_owners_at_once_store_each_offset_once(pool: Pool) -> None:
    writers = [HistoryWriter(pool, epoch=EPOCH) for _ in range(4)]
    await writers[0].progress(0)
    await asyncio.gather(*(w.apply(0, [row(i) for i in range(50)], next_offset=50) for w in writers))
    assert len(await HistoryReader(pool, epoch=EPOCH).page("m1", after=-1, limit=100)) == 50


async def test_a_row_that_postgres_refuses_leaves_nothing_and_is_told_apart(pool: Pool) -> None:
    writer = HistoryWriter(pool, epoch=EPOCH)
    await writer.progress(0)
    with pytest.raises(psycopg.DataError) as caught:
        await writer.apply(0, [row(0), row(1, "{")], next_offset=2)
    assert is_data_error(caught.value)
    assert await writer.progress(0) == Stand(0, None)


async def test_a_lost_progress_row_is_an_error_and_not_a_hole(pool: Pool) -> None:
    with pytest.raises(UnavailableError, match="no row of partition 6"):
        await HistoryWriter(pool, epoch=EPOCH).apply(6, [row(0)], next_offset=1)


async def test_pages_can_be_of_some_types_only(pool: Pool) -> None:
    writer, reader = HistoryWriter(pool, epoch=EPOCH), HistoryReader(pool, epoch=EPOCH)
    await writer.progress(0)
    await writer.apply(0, [row(0), row(1)._replace(type="goal")], next_offset=2)
    assert [s.offset for s in await reader.page("m1", after=-1, limit=10, types=["goal"])] == [1]


async def test_a_page_of_a_type_has_the_revisions_of_that_type(pool: Pool) -> None:
    writer, reader = HistoryWriter(pool, epoch=EPOCH), HistoryReader(pool, epoch=EPOCH)
    await writer.progress(0)
    revision = row(1)._replace(type="shot", revises=["c:goal", "n:duel"])
    await writer.apply(0, [row(0)._replace(type="goal"), revision, row(2)], next_offset=3)
    found = await reader.page("m1", after=-1, limit=10, types=["goal"])
    assert [(s.offset, s.revises) for s in found] == [(0, ""), (1, "c:goal,n:duel")]


async def test_migrating_twice_does_nothing_and_a_newer_schema_is_refused(database: str) -> None:
    assert await migrate(database) == []
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute("insert into schema_migrations (number, name, digest) values (9999, 'later', '')")
    with pytest.raises(ConfigError, match="newer eventhub"):
        await migrate(database)


async def test_a_server_that_is_down_is_unavailable_within_the_deadline() -> None:
    pool = Pool("postgresql://nobody@127.0.0.1:1/none", "gone", size=1, statement_timeout_s=1)
    await pool.open()
    with pytest.raises(UnavailableError, match="pool gone"):
        async with pool.connection():
            pass
    await pool.close()


async def nothing_is_lost_between_rows_and_progress(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer dies between its two writes: what the progress covers is stored, whichever came first."""
    writer, reader = HistoryWriter(pool, epoch=EPOCH), HistoryReader(pool, epoch=EPOCH)
    await writer.progress(0)
    faults = []

    async def die(*_: object) -> None:
        faults.append(1)
        raise ConnectionError("the node died here")

    with monkeypatch.context() as patch:
        patch.setattr(HistoryWriter, "_copy", die)
        with pytest.raises(ConnectionError):
            await writer.apply(0, [row(0), row(1)], next_offset=2)
    assert faults == [1]
    stored = [s.offset for s in await reader.page("m1", after=-1, limit=10)]
    assert stored == list(range((await writer.progress(0)).next_offset)), "the progress covers rows that are not stored"
    await writer.apply(0, [row(0), row(1)], next_offset=2)
    assert [s.offset for s in await reader.page("m1", after=-1, limit=10)] == [0, 1]


async def test_nothing_is_lost_between_rows_and_progress(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    await nothing_is_lost_between_rows_and_progress(pool, monkeypatch)


async def test_mutant_progress_outside_the_transaction_loses_rows(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def progress_first(
        self: HistoryWriter, partition: int, rows: list[Row], *, next_offset: int, **_: object
    ) -> int:
        async with self._pool.connection() as connection:
            await connection.execute("update log_progress set next_offset = %s", (next_offset,))
            await self._copy(connection, partition, rows)
        return next_offset

    monkeypatch.setattr(HistoryWriter, "apply", progress_first)
    with pytest.raises(AssertionError, match="not stored"):
        await nothing_is_lost_between_rows_and_progress(pool, monkeypatch)


async def gap_is_stored_with_the_rows_behind_it(pool: Pool) -> None:
    writer, reader = HistoryWriter(pool, epoch=EPOCH), HistoryReader(pool, epoch=EPOCH)
    await writer.progress(0)
    await writer.apply(0, [row(0), row(1)], next_offset=2)
    await writer.apply(0, [row(9)], next_offset=10, lost=(2, 8))
    assert [await reader.lost_above(0, after) for after in (-1, 1, 7, 8)] == [8, 8, 8, None], "the gap is not told"
    # Another owner that comes late, and had passed over the same, notes nothing.
    assert await writer.apply(0, [], next_offset=4, lost=(2, 3)) == 10
    assert await reader.lost_above(1, -1) is None


async def test_a_gap_is_stored_with_the_rows_behind_it(pool: Pool) -> None:
    await gap_is_stored_with_the_rows_behind_it(pool)


async def test_mutant_a_gap_that_is_passed_over_is_found_out(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    apply = HistoryWriter.apply

    async def silent(
        self: HistoryWriter, partition: int, rows: list[Row], *, next_offset: int, lost: object = None
    ) -> int:
        return await apply(self, partition, rows, next_offset=next_offset)

    monkeypatch.setattr(HistoryWriter, "apply", silent)
    with pytest.raises(AssertionError, match="not told"):
        await gap_is_stored_with_the_rows_behind_it(pool)


async def test_an_event_of_another_life_of_the_log_moves_to_its_place_in_this_one(pool: Pool) -> None:
    before, after = HistoryWriter(pool, epoch=EPOCH), HistoryWriter(pool, epoch="ffffffff")
    for writer in (before, after):
        await writer.progress(0)
    await before.apply(0, [row(0), row(1), row(2)], next_offset=3)
    moved = [row(0)._replace(offset=5), row(1)._replace(offset=6)]
    await after.apply(0, moved, next_offset=7, last_ms=12)
    assert await after.progress(0) == Stand(7, 12)
    assert [s.offset for s in await HistoryReader(pool, epoch="ffffffff").page("m1", after=-1, limit=9)] == [5, 6]
    assert [s.offset for s in await HistoryReader(pool, epoch=EPOCH).page("m1", after=-1, limit=9)] == [2]


async def test_of_one_life_the_first_row_of_an_event_stays(pool: Pool) -> None:
    writer, reader = HistoryWriter(pool, epoch=EPOCH), HistoryReader(pool, epoch=EPOCH)
    await writer.progress(0)
    await writer.apply(0, [row(0), row(0)._replace(offset=1)], next_offset=2)
    await writer.apply(0, [row(0)._replace(offset=2), row(3)], next_offset=4)
    assert [s.offset for s in await reader.page("m1", after=-1, limit=9)] == [0, 3]


async def test_an_epoch_of_the_same_topic_continues_the_one_before_it(pool: Pool) -> None:
    before = HistoryWriter(pool, epoch=EPOCH, topic_id="t")
    await before.progress(0)
    await before.apply(0, [row(1), row(4), row(9)], next_offset=10, lost=(0, 0))
    after, reader = HistoryWriter(pool, epoch="ffffffff", topic_id="t"), HistoryReader(pool, epoch="ffffffff")
    # The log has lost what came from 8 on, and had deleted what lies below 4.
    assert await after.progress(0, 4) == Stand(4, None)
    await after.apply(0, [row(4), row(7)], next_offset=8)
    assert await reader.progress(0) == 8
    for after_offset, limit, offsets in ((-1, 9, [1, 4, 7]), (-1, 1, [1]), (1, 9, [4, 7]), (-1, 2, [1, 4])):
        page = await reader.page("m1", after=after_offset, limit=limit)
        assert [s.offset for s in page] == offsets
    assert [await reader.lost_above(0, at) for at in (-1, 0)] == [0, None]
    third = HistoryWriter(pool, epoch="eeeeeeee", topic_id="t")
    assert await third.progress(0, 12) == Stand(8, None), "what it had not stored is a gap, and not to be passed over"


async def test_an_epoch_of_another_topic_begins_at_the_beginning(pool: Pool) -> None:
    before = HistoryWriter(pool, epoch=EPOCH, topic_id="t")
    await before.progress(0)
    await before.apply(0, [row(1)], next_offset=10)
    for name in ("another", ""):
        after = HistoryWriter(pool, epoch=f"of-{name}", topic_id=name)
        assert await after.progress(0, 4) == Stand(0, None)
        reader = HistoryReader(pool, epoch=f"of-{name}")
        assert await reader.progress(0) == 0
        assert await reader.page("m1", after=-1, limit=9) == []
