"""The spool: nothing acknowledged is lost to a torn end, a damaged record, a full disk or a dead process."""

import asyncio
import os
import resource
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from eventhub.errors import UnavailableError
from eventhub.ingest.spool import Spool, Spooled, claim, drain, folders, survey
from eventhub.ingest.spool.segments import Folder, Place, make
from eventhub.record import Outgoing
from eventhub.tasks import end
from tests.support.wait import until

MAX = 1 << 20


def outgoing(text: str) -> Outgoing:
    return Outgoing(b"m", text.encode(), [("h", b"tags")])


def spooled(text: str) -> Spooled:
    return Spooled(1, "broadcast-events", "m", text.encode(), b"tags")


START = Place(0, 0)


def texts(folder: Folder, place: Place = START, limit: int = MAX) -> list[str]:
    found = []
    while (read := folder.read(place, limit)).records:
        found += [one.value.decode() for one in read.records]
        place = read.place
    return found


def segments_of(root: Path) -> list[Path]:
    return list(root.rglob("*.seg"))


class Topic:
    """Where the drain sends to; refuses while it is down."""

    def __init__(self) -> None:
        self.got: list[str] = []
        self.down = False
        self.tries = 0

    async def send(self, records: Sequence[Spooled]) -> None:
        self.tries += 1
        if self.down:
            raise UnavailableError("down")
        self.got += [one.value.decode() for one in records]


@asynccontextmanager
async def running(root: Path, topic: Topic, max_bytes: int = MAX) -> AsyncIterator[Spool]:
    spool = Spool(root, max_bytes=max_bytes)
    task = asyncio.create_task(spool.run(topic.send))
    try:
        yield spool
    finally:
        await end(task)
        await spool.close()


def test_records_come_back_in_order_piece_by_piece(tmp_path: Path) -> None:
    folder = make(tmp_path, "a")
    for number in range(100):
        folder.append(folder.pack([spooled(str(number))]))
    assert texts(folder) == texts(folder, limit=100) == [str(n) for n in range(100)]


def test_a_torn_end_is_left_out_and_what_is_written_after_it_is_not(tmp_path: Path) -> None:
    folder = make(tmp_path, "a")
    folder.append(folder.pack([spooled("1"), spooled("2")]))
    segment = next(folder.path.glob("*.seg"))
    whole = segment.read_bytes()
    folder.close()
    for cut in range(1, len(whole) // 2):
        segment.write_bytes(whole[:-cut])
        torn = claim(folder.path)
        assert torn is not None
        assert texts(torn) == ["1"]
        torn.append(torn.pack([spooled("3")]))
        assert texts(torn) == ["1", "3"]
        torn.finish()
        (torn.path / f"{2:010d}.seg").unlink()
        torn.close()


def test_a_damaged_record_is_stepped_over(tmp_path: Path) -> None:
    folder = make(tmp_path, "a")
    folder.append(folder.pack([spooled("one"), spooled("two"), spooled("three")]))
    segment = next(folder.path.glob("*.seg"))
    segment.write_bytes(segment.read_bytes().replace(b"two", b"owt"))
    assert texts(folder) == ["one", "three"]


def test_a_folder_is_held_by_one_and_free_once_its_holder_is_gone(tmp_path: Path) -> None:
    folder = make(tmp_path, "a")
    assert claim(folder.path) is None
    folder.close()
    again = claim(folder.path)
    assert again is not None
    again.remove()
    assert folders(tmp_path) == []


def test_what_was_drained_is_not_read_again_after_a_restart(tmp_path: Path) -> None:
    folder = make(tmp_path, "a")
    folder.append(folder.pack([spooled("1"), spooled("2")]))
    half = folder.read(Place(0, 0), 1)
    folder.advance(half.place)
    folder.close()
    again = claim(folder.path)
    assert again is not None
    assert texts(again, again.start()) == ["2"]


async def test_records_are_drained_in_order_once_kafka_takes_them(tmp_path: Path) -> None:
    topic = Topic()
    topic.down = True
    async with running(tmp_path, topic) as spool:
        await asyncio.gather(*(spool.put("broadcast-events", "m", [outgoing(str(n))]) for n in range(50)))
        await until(lambda: topic.tries > 0, "a try of the drain")
        assert (spool.records, spool.holds("broadcast-events", "m"), spool.holds("broadcast-events", "other")) == (
            50,
            True,
            False,
        )
        topic.down = False
        await until(lambda: spool.records == 0, "the drain")
        assert topic.got == [str(n) for n in range(50)]
        assert (spool.down, spool.holds("broadcast-events", "m"), spool.size_bytes) == (False, False, 0)
        assert segments_of(tmp_path) == []
        await spool.put("broadcast-events", "m", [outgoing("after")])
        await until(lambda: topic.got[-1] == "after", "a record after the drain")


async def test_a_full_spool_refuses_and_takes_again_when_there_is_room(tmp_path: Path) -> None:
    topic = Topic()
    topic.down = True
    async with running(tmp_path, topic, max_bytes=1000) as spool:
        await spool.put("broadcast-events", "m", [outgoing("x" * 800)])
        with pytest.raises(UnavailableError, match="full") as refused:
            await spool.put("broadcast-events", "n", [outgoing("y" * 800)])
        assert refused.value.name == "spool_full"
        assert not spool.holds("broadcast-events", "n")
        topic.down = False
        await until(lambda: spool.records == 0, "the drain")
        await spool.put("broadcast-events", "n", [outgoing("y" * 800)])


async def test_a_disk_that_refuses_is_503_and_what_it_took_before_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic, fdatasync = Topic(), os.fdatasync
    topic.down = True
    refusals = 0

    def full(handle: int) -> None:
        nonlocal refusals
        refusals += 1
        raise OSError(28, "No space left on device")

    async with running(tmp_path, topic) as spool:
        await spool.put("broadcast-events", "m", [outgoing("1")])
        monkeypatch.setattr(os, "fdatasync", full)
        with pytest.raises(UnavailableError, match="No space left"):
            await spool.put("broadcast-events", "m", [outgoing("2")])
        assert refusals == 1
        monkeypatch.setattr(os, "fdatasync", fdatasync)
        await spool.put("broadcast-events", "m", [outgoing("3")])
        topic.down = False
        await until(lambda: spool.records == 0, "the drain")
    assert topic.got == ["1", "3"]


def test_of_what_a_full_disk_refuses_nothing_is_written_later(tmp_path: Path) -> None:
    refused_in_part(tmp_path)


def test_mutant_a_part_that_is_not_cut_back_swallows_what_comes_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def append(self: Folder, packed: bytes) -> None:
        file, left = self._writable(), memoryview(packed)
        while left:
            left = left[file.write(left) :]
        self._durable = Place(self._number, file.tell())

    monkeypatch.setattr(Folder, "append", append)
    with pytest.raises(AssertionError):
        refused_in_part(tmp_path)


def refused_in_part(tmp_path: Path) -> None:
    folder = make(tmp_path, "a")
    folder.append(folder.pack([spooled("1")]))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The kernel takes a part of the record and refuses the rest, as it does when a disk gets full.
    resource.setrlimit(resource.RLIMIT_FSIZE, (folder.size_bytes + 100, hard))
    try:
        for _ in range(2):
            with pytest.raises(OSError, match="File too large"):
                folder.append(folder.pack([spooled("2" * 1000)]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert texts(folder) == ["1"]
    folder.append(folder.pack([spooled("3")]))
    assert texts(folder) == ["1", "3"]
    folder.close()


async def test_a_drain_that_cannot_note_its_place_goes_on(tmp_path: Path) -> None:
    topic = Topic()
    topic.down = True
    async with running(tmp_path, topic) as spool:
        await spool.put("broadcast-events", "m", [outgoing("1")])
        (folder,) = folders(tmp_path)
        in_the_way = folder / "drained.new"
        in_the_way.mkdir()
        topic.down = False
        await until(lambda: spool.records == 0, "the drain")
        assert (topic.got, segments_of(tmp_path)) == (["1"], [])
        assert not spool.holds("broadcast-events", "m")
        in_the_way.rmdir()


async def test_the_disk_is_freed_though_the_last_record_was_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic, refuse = Topic(), threading.Event()
    topic.down = True

    def full(handle: int) -> None:
        refuse.wait(10)
        raise OSError(28, "No space left on device")

    async with running(tmp_path, topic) as spool:
        await spool.put("broadcast-events", "m", [outgoing("1")])
        monkeypatch.setattr(os, "fdatasync", full)
        refused = spool.put("broadcast-events", "m", [outgoing("2")])
        topic.down = False
        await until(lambda: spool.records == 1 and topic.got == ["1"], "the drain of the first")
        refuse.set()
        with pytest.raises(UnavailableError, match="No space left"):
            await refused
        await until(lambda: segments_of(tmp_path) == [], "the disk to be freed")


async def left_behind(root: Path) -> None:
    """What a process left that ended while Kafka was down."""
    topic = Topic()
    topic.down = True
    async with running(root, topic) as spool:
        await spool.put("broadcast-events", "m", [outgoing("1"), outgoing("2")])


async def test_a_dead_process_s_spool_is_adopted_and_removed(tmp_path: Path) -> None:
    await left_behind(tmp_path)
    assert len(folders(tmp_path)) == 1
    topic = Topic()
    async with running(tmp_path, topic):
        await until(lambda: topic.got == ["1", "2"] and folders(tmp_path) == [], "the adoption")


async def test_a_living_process_s_spool_is_left_alone(tmp_path: Path) -> None:
    held, other = Topic(), Topic()
    held.down = True
    async with running(tmp_path, held) as spool:
        await spool.put("broadcast-events", "m", [outgoing("1")])
        async with running(tmp_path, other):
            await until(lambda: held.tries > 2, "some tries")
            assert other.got == []


async def test_mutant_acknowledged_before_the_disk_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put: Callable[..., asyncio.Future[int | None]] = Spool.put

    def at_once(self: Spool, topic: str, match_id: str, records: Sequence[Outgoing]) -> asyncio.Future[int | None]:
        put(self, topic, match_id, records).add_done_callback(lambda done: done.exception())
        done: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Spool, "put", at_once)
    monkeypatch.setattr(os, "fdatasync", full)
    async with running(tmp_path, Topic()) as spool:
        with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
            with pytest.raises(UnavailableError):
                await spool.put("broadcast-events", "m", [outgoing("1")])


async def test_a_folder_is_surveyed_without_being_touched(tmp_path: Path) -> None:
    topic = Topic()
    topic.down = True
    async with running(tmp_path, topic) as spool:
        await spool.put("broadcast-events", "m", [outgoing("1"), outgoing("2")])
        held = survey(folders(tmp_path)[0])
        assert (held.held, held.records, held.size_bytes) == (True, 2, spool.size_bytes)
    left = survey(folders(tmp_path)[0])
    assert (left.held, left.records, left.oldest) == (False, 2, held.oldest)
    folder = claim(folders(tmp_path)[0])
    assert folder is not None
    topic.down = False
    told: list[int] = []
    assert await drain(folder, topic.send, told.append) == 2
    assert (topic.got, told, folders(tmp_path)) == (["1", "2"], [2], [])
