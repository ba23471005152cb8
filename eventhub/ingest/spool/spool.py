"""The spool: where ingest keeps what Kafka does not take, in order, until it does (path: beside step 1).

A record is acknowledged once it is fsynced; records that arrive meanwhile share the next fsync. The drain sends what is
there in order and begins again after any failure, so that the log may get a record twice: enrichment drops it.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import structlog

from eventhub.errors import UnavailableError
from eventhub.ingest.spool import segments
from eventhub.ingest.spool.segments import Folder, Place, Spooled
from eventhub.record import Outgoing

DRAIN_BYTES = 800_000
AGAIN_S = (0.1, 2.0)
ADOPT_EVERY_S = 5.0
TAKEN_SHARE = 0.5
"""Of what the drain sends, so much may be acknowledged anew meanwhile: below 1, so that the drain comes to an end."""
Send = Callable[[Sequence[Spooled]], Awaitable[None]]
"""Puts records on their raw topics, in order for each match. Raises UnavailableError."""
log = structlog.get_logger(__name__)


class _Put(NamedTuple):
    packed: bytes
    place: tuple[str, str]
    records: int
    done: asyncio.Future[int | None]


class Spool:
    """This process's spool. One event loop; only files are touched in threads."""

    def __init__(self, root: Path, *, max_bytes: int) -> None:
        self.down = False
        self.size_bytes = 0
        self._root, self._max_bytes = root, max_bytes
        # What a dead process left here goes first, whatever matches it is of.
        self._behind = bool(segments.folders(root))
        self._folder: Folder | None = None
        self._place = Place(0, 0)
        self._pending: dict[tuple[str, str], int] = {}
        self._waiting: list[_Put] = []
        self._writing: asyncio.Task[None] | None = None
        self._draining, self._credit = False, 0.0
        self._written: deque[_Put] = deque()
        self._news = asyncio.Event()

    @property
    def records(self) -> int:
        """How many wait in this process's folder."""
        return sum(self._pending.values())

    def holds(self, topic: str, match_id: str) -> bool:
        """Whether a record of the match waits here: then all that follow must go behind it."""
        return self._behind or (topic, match_id) in self._pending

    def put(self, topic: str, match_id: str, records: Sequence[Outgoing]) -> asyncio.Future[int | None]:
        """Take records; the future is done (None) once they are on the disk, in the order of the calls.

        While the drain is under way it is done later, at half the drain's pace at most: who sends as fast as it is
        answered would keep the match here for ever.

        It fails with UnavailableError when the spool is full or the disk refuses.
        """
        done: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        now_ms = segments.now_ms()
        try:
            folder = self._opened()
        except OSError as error:
            done.set_exception(_refused(error))
            return done
        packed = folder.pack([Spooled(now_ms, topic, match_id, r.value or b"", r.headers[0][1]) for r in records])
        if self.size_bytes + len(packed) > self._max_bytes:
            full = f"the spool is full ({self.size_bytes} of {self._max_bytes} bytes) while Kafka does not answer"
            done.set_exception(UnavailableError(full, code="spool_full", retry_after_s=5))
            return done
        self.size_bytes += len(packed)
        self._pending[topic, match_id] = self._pending.get((topic, match_id), 0) + len(records)
        self._waiting.append(_Put(packed, (topic, match_id), len(records), done))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        return done

    async def run(self, send: Send) -> None:
        """Drain this folder and those of dead processes, for ever; cancel to end."""
        loop = asyncio.get_running_loop()
        again_s, adopt_at = AGAIN_S[0], 0.0
        while True:
            try:
                if loop.time() >= adopt_at:
                    await self._adopt(send)
                    self._behind = False
                    adopt_at = loop.time() + ADOPT_EVERY_S
                self._news.clear()
                while self.records and await self._drain_own(send):
                    again_s = AGAIN_S[0]
                self._tidy()
            except UnavailableError as error:
                self.down = True
                self._acknowledge()
                log.warning("spool waits for Kafka", records=self.records, error=error.detail, again_s=again_s)
                await asyncio.sleep(again_s)
                again_s = min(again_s * 2, AGAIN_S[1])
                continue
            except OSError as error:
                log.error("spool cannot be read", error=repr(error), hint="check this node's disk")
                self._draining = False
                self._acknowledge()
                await asyncio.sleep(AGAIN_S[1])
                continue
            await self._quiet(max(0.05, adopt_at - loop.time()))

    async def close(self) -> None:
        """Finish what is being written; what is not drained stays for whoever adopts the folder."""
        if self._writing is not None:
            await self._writing
        self._draining = False
        self._acknowledge()
        if self._folder is not None:
            if self.records:
                log.warning("spool is left behind", records=self.records, folder=str(self._folder.path))
                self._folder.close()
            else:
                self._folder.remove()
            self._folder = None

    def _opened(self) -> Folder:
        if self._folder is None:
            self._folder = segments.make(self._root, secrets.token_hex(8))
        return self._folder

    async def _write(self) -> None:
        """Group after group: what arrived while the last one was fsynced is the next."""
        folder = self._opened()
        try:
            while self._waiting:
                group = list(self._waiting)
                try:
                    await asyncio.to_thread(folder.append, b"".join(put.packed for put in group))
                except OSError as error:
                    log.error("spool cannot be written", error=repr(error), hint="make room on this node's disk")
                    self._settle(group, _refused(error))
                else:
                    self._settle(group, None)
        finally:
            self._writing = None

    def _settle(self, group: list[_Put], error: UnavailableError | None) -> None:
        del self._waiting[: len(group)]
        for put in group:
            if error is not None:
                self.size_bytes -= len(put.packed)
                self._taken(put.place, put.records)
                if not put.done.done():
                    put.done.set_exception(error)
            else:
                self._written.append(put)
        self._acknowledge()
        self._news.set()

    def _acknowledge(self) -> None:
        """What is written; while the drain is under way only as much as it has earned."""
        if not self._pending or self.down:
            self._draining, self._credit = False, 0.0
        while self._written and (not self._draining or self._written[0].records <= self._credit):
            put = self._written.popleft()
            if self._draining:
                self._credit -= put.records
            if not put.done.done():
                put.done.set_result(None)

    def _taken(self, place: tuple[str, str], count: int) -> None:
        left = self._pending[place] - count
        if left:
            self._pending[place] = left
        else:
            del self._pending[place]

    async def _drain_own(self, send: Send) -> bool:
        """Send a piece of this folder; False when nothing of it could be read yet."""
        folder = self._opened()
        read = await asyncio.to_thread(folder.read, self._place, DRAIN_BYTES)
        if not read.records:
            return False
        await send(read.records)
        self.down = False
        self._place = read.place
        self.size_bytes -= read.size_bytes
        await asyncio.to_thread(folder.advance, read.place)
        for one in read.records:
            self._taken((one.topic, one.match_id), 1)
        self._draining, self._credit = True, self._credit + TAKEN_SHARE * len(read.records)
        self._acknowledge()
        return True

    def _tidy(self) -> None:
        """Free the disk once nothing waits: the last that did was sent, or was refused by the disk."""
        folder = self._folder
        # Nothing is being written either: a put counts from its call on.
        if folder is not None and not self._pending and folder.begun:
            self._place = folder.finish()
            folder.advance(self._place)
            log.info("spool is drained")

    async def _adopt(self, send: Send) -> None:
        """Drain what dead processes left in this data folder."""
        for path in await asyncio.to_thread(segments.folders, self._root):
            if self._folder is not None and path == self._folder.path:
                continue
            folder = await asyncio.to_thread(segments.claim, path)
            if folder is not None:
                try:
                    await drain(folder, send)
                finally:
                    folder.close()

    async def _quiet(self, timeout_s: float) -> None:
        # Not wait_for: Python 3.11's loses a cancellation that comes together with the event.
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._news.wait()


async def drain(folder: Folder, send: Send, told: Callable[[int], None] = lambda _: None) -> int:
    """Send all of an adopted folder and remove it; returns how many records. `told` gets the count so far.

    Raises UnavailableError when Kafka does not take them; what was sent is noted.
    """
    place, count = await asyncio.to_thread(folder.start), 0
    while True:
        read = await asyncio.to_thread(folder.read, place, DRAIN_BYTES)
        if not read.records:
            break
        await send(read.records)
        place = read.place
        await asyncio.to_thread(folder.advance, place)
        count += len(read.records)
        told(count)
    await asyncio.to_thread(folder.remove)
    if count:
        log.info("adopted spool is drained", records=count, folder=folder.path.name)
    return count


def _refused(error: OSError) -> UnavailableError:
    return UnavailableError(
        f"Kafka does not answer and the spool's disk refuses ({error.strerror or type(error).__name__}); try again",
        code="spool_refused",
        retry_after_s=5,
    )
