"""The spool's files: append-only segments of checked records, and where the drain has got to. Blocking; no I/O loop.

A record is its length and CRC-32 (4 bytes each, big-endian) and a msgpack array. A torn end was never acknowledged,
so reading stops there; a record whose checksum is wrong in the middle is told and stepped over.
"""

import fcntl
import os
import struct
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import IO, NamedTuple

import msgspec
import structlog

HEAD = struct.Struct(">II")
SEGMENT_BYTES = 32 << 20
LARGEST_BYTES = 4 << 20
LOCK, PLACE = "lock", "drained"
log = structlog.get_logger(__name__)


class Spooled(msgspec.Struct, array_like=True, frozen=True):
    """A record of a raw topic that waits: when it came in, where it goes, and what it is."""

    at_ms: int
    topic: str
    match_id: str
    value: bytes
    tags: bytes


class Place(msgspec.Struct, frozen=True, order=True):
    """A segment's number and a byte in it."""

    segment: int
    byte: int


class Read(NamedTuple):
    """Records in order, how many bytes they take in the segment, and the place behind the last one."""

    records: list[Spooled]
    size_bytes: int
    place: Place


class Folder:
    """One process's spool on the disk, locked for as long as it is open."""

    def __init__(self, path: Path, lock: IO[bytes]) -> None:
        self.path, self._lock = path, lock
        self._writing: FileIO | None = None
        self._durable: Place | None = None
        numbers = [int(p.stem) for p in path.glob("*.seg")]
        self._next = max(numbers, default=0) + 1
        self._number = self._next
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Spooled).decode

    @property
    def size_bytes(self) -> int:
        """What the segments hold, drained or not."""
        return sum(p.stat().st_size for p in self.path.glob("*.seg"))

    @property
    def begun(self) -> bool:
        """Whether there is a segment, drained or not."""
        return bool(self._numbers(0))

    def pack(self, records: Sequence[Spooled]) -> bytes:
        """The records as they stand in a segment."""
        parts = []
        for one in records:
            packed = self._encode(one)
            parts.append(HEAD.pack(len(packed), zlib.crc32(packed)) + packed)
        return b"".join(parts)

    def append(self, packed: bytes) -> None:
        """Write and fsync. Raises OSError; then nothing of it is there, as far as the disk allows."""
        file = self._writable()
        start = file.tell()
        try:
            left = memoryview(packed)
            while left:
                # A disk that gets full takes a part first. Buffered, the rest would stay in hand and be written later.
                left = left[file.write(left) :]
            os.fdatasync(file.fileno())
            self._durable = Place(self._number, file.tell())
        except OSError:
            file.truncate(start)
            file.seek(start)
            raise

    def start(self) -> Place:
        """Where the drain had got to."""
        try:
            return msgspec.json.decode((self.path / PLACE).read_bytes(), type=Place)
        except (OSError, msgspec.MsgspecError):
            return Place(0, 0)

    def read(self, place: Place, limit_bytes: int) -> Read:
        """Records from a place on, about `limit_bytes` of them; none when there are no more that are fsynced."""
        for number in self._numbers(place.segment):
            start = place.byte if number == place.segment else 0
            found = list(self._records(number, start, start + limit_bytes))
            records = [record for record, _ in found if record is not None]
            if records:
                end = found[-1][1]
                return Read(records, end - start, Place(number, end))
        return Read([], 0, place)

    def advance(self, place: Place) -> None:
        """Everything before the place is on the log: remove segments that are done, and note the place.

        A full disk may refuse the note. Then more is sent again if this process dies, and that is all.
        """
        for number in self._numbers(0):
            if number < place.segment:
                (self.path / f"{number:010d}.seg").unlink()
        draft = self.path / f"{PLACE}.new"
        try:
            draft.write_bytes(msgspec.json.encode(place))
            draft.replace(self.path / PLACE)
        except OSError as error:
            log.warning("the drained place cannot be noted", error=repr(error), hint="make room on this node's disk")

    def finish(self) -> Place:
        """The segment that is written to is whole, and a new one is written to next; returns where that begins."""
        if self._writing is not None:
            self._writing.close()
            self._writing = None
        return Place(self._next, 0)

    def remove(self) -> None:
        """The folder is drained and nobody's any more."""
        for path in self.path.iterdir():
            path.unlink()
        self.path.rmdir()
        self.close()

    def close(self) -> None:
        """Let go of files and lock; what is not drained stays for whoever adopts it."""
        self.finish()
        self._lock.close()

    def _writable(self) -> FileIO:
        if self._writing is not None and self._writing.tell() >= SEGMENT_BYTES:
            self.finish()
        if self._writing is None:
            self._number, self._next = self._next, self._next + 1
            self._writing = (self.path / f"{self._number:010d}.seg").open("ab", buffering=0)
            self._durable = Place(self._number, 0)
            _sync_folder(self.path)
        return self._writing

    def _numbers(self, first: int) -> list[int]:
        return sorted(n for n in (int(p.stem) for p in self.path.glob("*.seg")) if n >= first)

    def _records(self, number: int, byte: int, end: int) -> Iterator[tuple[Spooled | None, int]]:
        """Each whole record with the byte behind it; None in place of one that is damaged."""
        if self._durable is not None and number == self._durable.segment:
            end = min(end, self._durable.byte)
        with (self.path / f"{number:010d}.seg").open("rb") as file:
            file.seek(byte)
            while byte < end:
                head = file.read(HEAD.size)
                size, crc = HEAD.unpack(head) if len(head) == HEAD.size else (0, 0)
                packed = file.read(size) if 0 < size <= LARGEST_BYTES else b""
                if not packed or len(packed) < size:
                    return
                byte += HEAD.size + size
                if zlib.crc32(packed) != crc:
                    log.error("spooled record is damaged", segment=number, byte=byte, hint="check this node's disk")
                    yield None, byte
                else:
                    yield self._decode(packed), byte


def make(root: Path, name: str) -> Folder:
    """A new folder of this process. Raises OSError."""
    path = root / name
    path.mkdir(parents=True)
    folder = claim(path)
    assert folder is not None
    _sync_folder(root)
    return folder


def claim(path: Path) -> Folder | None:
    """The folder, when nobody holds its lock. A lock ends with its process, however that ended."""
    try:
        lock = (path / LOCK).open("ab")
    except FileNotFoundError:
        return None
    if not _lock(lock) or not path.is_dir():
        lock.close()
        return None
    return Folder(path, lock)


def folders(root: Path) -> list[Path]:
    """Every spool folder under the root, oldest first."""
    found: list[tuple[float, Path]] = []
    for path in root.iterdir() if root.is_dir() else ():
        # Another process may drain and remove one meanwhile.
        with suppress(FileNotFoundError):
            if path.is_dir():
                found.append((path.stat().st_mtime, path))
    return [path for _, path in sorted(found)]


class Survey(NamedTuple):
    """A folder's name, whether a living process holds it, what waits there, and the oldest record's time."""

    name: str
    held: bool
    records: int
    size_bytes: int
    oldest: str | None


def survey(path: Path) -> Survey:
    """Look at a folder without changing it; one that is drained meanwhile counts as empty."""
    try:
        lock = (path / LOCK).open("ab")
    except FileNotFoundError:
        return Survey(path.name, False, 0, 0, None)
    with lock:
        held = not _lock(lock)
        seen = Folder(path, lock)
        place, records, size, oldest = seen.start(), 0, 0, None
        try:
            while (read := seen.read(place, SEGMENT_BYTES)).records:
                oldest = oldest or datetime.fromtimestamp(read.records[0].at_ms / 1000, UTC).isoformat()
                records, size, place = records + len(read.records), size + read.size_bytes, read.place
        except FileNotFoundError:
            pass
    return Survey(path.name, held, records, size, oldest)


def _lock(lock: IO[bytes]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def now_ms() -> int:
    """The wall clock, in milliseconds."""
    return time.time_ns() // 1_000_000


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
