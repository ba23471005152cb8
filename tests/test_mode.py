"""The mode: what may be asked, what follows, what a node goes by, and that two operators never overwrite each other."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from eventhub import kafka, mode, operations
from eventhub.errors import ConflictError, RejectedError, UnavailableError
from eventhub.mode import BEGINNING, Mode, Setting, Wanted

NOW = datetime(2026, 7, 1, 19, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
READ_ONLY = Setting("read_only", "upgrade", "ann", NOW, None, 1)


def record(setting: Setting) -> bytes:
    return msgspec.json.encode(setting)


def test_each_change_counts_up_and_says_who_why_and_until_when() -> None:
    wanted = Wanted("read_only", "upgrade", "ann", NOW + MINUTE)
    assert mode.change(BEGINNING, wanted, NOW) == Setting("read_only", "upgrade", "ann", NOW, NOW + MINUTE, 1)
    assert mode.change(READ_ONLY, Wanted("normal"), NOW).revision == 2


@pytest.mark.parametrize(
    ("wanted", "pointer"),
    [
        (Wanted("read_only"), "/reason"),
        (Wanted("read_only", "  "), "/reason"),
        (Wanted("read_only", "x" * 501), "/reason"),
        (Wanted("normal", actor="x" * 501), "/actor"),
        (Wanted("read_only", "x", until=NOW), "/until"),
        (Wanted("read_only", "x", until=datetime(2027, 1, 1)), "/until"),  # noqa: DTZ001 - without a zone on purpose
    ],
)
def test_what_cannot_be_is_refused_with_its_place(wanted: Wanted, pointer: str) -> None:
    with pytest.raises(RejectedError) as refused:
        mode.change(BEGINNING, wanted, NOW)
    assert refused.value.pointer == pointer


def test_a_change_of_another_revision_is_refused() -> None:
    with pytest.raises(ConflictError, match="revision 1"):
        mode.change(READ_ONLY, Wanted("normal", revision=0), NOW)


def test_read_only_runs_out_by_the_clock(tmp_path: Path) -> None:
    clock = [NOW]
    held = Mode(tmp_path / "mode.json", lambda: clock[0])
    held.fold("mode", record(Setting("read_only", "upgrade", "ann", NOW, NOW + MINUTE, 4)))
    assert held.read_only
    with pytest.raises(UnavailableError, match="upgrade") as refused:
        held.check()
    assert (refused.value.name, refused.value.status) == ("read_only", 503)
    clock[0] += MINUTE
    assert not held.read_only
    assert (held.current.revision, held.current.since) == (4, NOW + MINUTE)
    held.check()


def test_a_node_that_cannot_read_the_topic_goes_by_its_copy_else_is_read_only(tmp_path: Path) -> None:
    kept = tmp_path / "mode.json"
    assert Mode(kept, lambda: NOW).read_only
    first = Mode(kept, lambda: NOW)
    first.fold("incarnation:match-events", b"x")
    first.settle()
    assert not first.read_only
    assert not Mode(kept, lambda: NOW).read_only
    first.fold("mode", record(READ_ONLY))
    restarted = Mode(kept, lambda: NOW)
    assert restarted.current == READ_ONLY
    kept.write_text("{")
    assert Mode(kept, lambda: NOW).read_only


def test_where_the_topic_has_no_mode_it_is_normal_whatever_the_copy_says(tmp_path: Path) -> None:
    kept = tmp_path / "mode.json"
    kept.write_bytes(record(READ_ONLY))
    held = Mode(kept, lambda: NOW)
    held.settle()
    assert not held.read_only


async def test_who_waits_for_writes_goes_on_at_normal_and_at_the_end_of_the_time(tmp_path: Path) -> None:
    held = Mode(tmp_path / "mode.json", lambda: datetime.now(UTC))
    held.fold("mode", record(READ_ONLY))
    waiting = asyncio.create_task(held.writable())
    await asyncio.sleep(0)
    assert not waiting.done()
    held.fold("mode", record(Setting("normal", "", "ann", NOW, None, 2)))
    await asyncio.wait_for(waiting, 5)
    soon = datetime.now(UTC) + timedelta(milliseconds=50)
    held.fold("mode", record(Setting("read_only", "x", "ann", NOW, soon, 3)))
    await asyncio.wait_for(held.writable(), 5)
    assert datetime.now(UTC) >= soon


async def replaced_at_once(cluster: kafka.Kafka) -> None:
    """Eight operators replace the same revision at the same time."""
    current = mode.read(await kafka.read_control(cluster, mode.KEY))

    async def one(number: int) -> Setting | None:
        wanted = Wanted("normal", f"by {number}", "test", revision=current.revision)
        try:
            return await operations.change_mode(cluster, wanted, node=str(number))
        except ConflictError:
            return None

    answers = await asyncio.gather(*map(one, range(8)))
    won = [a for a in answers if a is not None]
    assert len(won) == 1, f"{len(won)} of 8 were told that they had replaced revision {current.revision}"
    assert mode.read(await kafka.read_control(cluster, mode.KEY)) == won[0]


async def test_of_operators_who_change_the_same_revision_one_is_heard(cluster: kafka.Kafka) -> None:
    await replaced_at_once(cluster)


async def test_mutant_a_change_without_the_fence(cluster: kafka.Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unfenced(self: kafka.FencedWriter, node: str) -> int | None:
        self._producer = self._kafka.producer()
        await self._producer.start()
        return None

    monkeypatch.setattr(kafka.FencedWriter, "fence", unfenced)
    with pytest.raises(AssertionError, match="of 8 were told"):
        await replaced_at_once(cluster)
