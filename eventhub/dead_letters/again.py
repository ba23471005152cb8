"""Reading letters, sending them again, and putting them away: the Kafka side."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from eventhub import topics
from eventhub.dead_letters.letters import Fold, Letter, Origin, State, origin, split
from eventhub.errors import NotFoundError, RejectedError
from eventhub.kafka import Kafka, Writer, read_range
from eventhub.record import Outgoing

Progress = Callable[[int, int], None]
"""Takes how many letters are done, and of how many."""

RETRY = ("of", "attempts")
ACK_TIMEOUT_S = 30
READERS = 8
CHUNK, CHUNK_BYTES = 200, 8 << 20


async def read(kafka: Kafka, partitions: int) -> list[Letter]:
    """Every letter that the topic still has, in any state and order. Raises UnavailableError.

    Values are not kept: `value` and `replay` read them again.
    """
    limit = asyncio.Semaphore(READERS)

    async def fold(partition: int) -> list[Letter]:
        folded = Fold()
        async with limit:
            async for records in read_range(kafka, topics.DEAD, partition, 0):
                for consumed in records:
                    folded.take(consumed)
        return list(folded.letters.values())

    return [one for part in await asyncio.gather(*map(fold, range(partitions))) for one in part]


async def value(kafka: Kafka, letter: Letter) -> bytes | None:
    """The raw record's exact bytes; None where it had none. Raises NotFoundError when Kafka no longer has them."""
    found = await _copies(kafka, [letter])
    if letter.offset not in found:
        raise NotFoundError(f"the bytes of {letter.key} are gone: {topics.DEAD} keeps letters for 30 days")
    body: bytes | None = found[letter.offset].value
    return body


async def replay(
    kafka: Kafka, letters: Sequence[Letter], *, by: str, now: Callable[[], datetime], progress: Progress
) -> int:
    """Send these letters again at the step where they failed, and close each; returns how many were sent.

    For enrichment that is the raw topic and partition of the first origin, in the order of the origins. A letter is
    closed only after its record is acknowledged, so that a crash sends it twice and never not at all: enrichment drops
    what is on the log by now. What is dead again is the same letter with one more attempt. Raises RejectedError, before
    anything is sent, for a letter that cannot be sent again; UnavailableError when Kafka stops taking them.
    """
    places = {one.key: _place(one) for one in letters}
    done = 0
    writer = Writer(kafka)
    await writer.open()
    try:
        for chunk in _chunks(sorted(letters, key=lambda one: places[one.key])):
            copies = await _copies(kafka, chunk)
            chunk = [one for one in chunk if one.offset in copies]
            if not chunk:
                continue
            place = places[chunk[0].key]
            raw = [_again(one, copies[one.offset]) for one in chunk]
            await writer.append(place.topic, place.partition, raw, timeout_s=ACK_TIMEOUT_S)
            await _close(writer, chunk, "replayed", by=by, at=now(), reason="")
            done += len(chunk)
            progress(done, len(letters))
    finally:
        await writer.close()
    return done


async def discard(kafka: Kafka, letters: Sequence[Letter], *, by: str, reason: str, at: datetime) -> None:
    """Close these letters for good; their bytes stay until the topic's retention. Raises UnavailableError."""
    writer = Writer(kafka)
    await writer.open()
    try:
        for _, part in groupby(sorted(letters, key=lambda one: one.partition), key=lambda one: one.partition):
            await _close(writer, list(part), "discarded", by=by, at=at, reason=reason)
    finally:
        await writer.close()


def _again(letter: Letter, copy: Any) -> Outgoing:
    """The raw record as it was, with `of` and `attempts` behind its own headers: readers want `h` first."""
    own, raw = split(copy.headers)
    kept = [(name, said) for name, said in raw if name not in RETRY]
    retry = [("of", letter.key.encode()), ("attempts", str(letter.attempts + 1).encode())]
    return Outgoing((own.get("key") or letter.match_id or "").encode(), copy.value, [*kept, *retry])


async def _close(
    writer: Writer, letters: Sequence[Letter], state: State, *, by: str, at: datetime, reason: str
) -> None:
    said = [("by", by.encode()), ("at", at.isoformat().encode()), ("reason", reason.encode())]
    ends = [
        Outgoing(one.key.encode(), None, [("state", state.encode()), ("attempts", str(one.attempts).encode()), *said])
        for one in letters
    ]
    await writer.append(topics.DEAD, letters[0].partition, ends, timeout_s=ACK_TIMEOUT_S)


def _place(letter: Letter) -> Origin:
    found = origin(letter.key)
    if letter.stage != "enrichment" or found is None or found.topic not in topics.RAW:
        raise RejectedError(
            f"{letter.key} failed at {letter.stage!r}, which this version cannot send it to again; leave it out"
        )
    return found


def _chunks(letters: Sequence[Letter]) -> Iterator[list[Letter]]:
    """Letters of one topic and partition each, few enough to be held in memory; the order stays."""
    chunk: list[Letter] = []
    size = 0
    for one in letters:
        if chunk and (_home(one) != _home(chunk[0]) or len(chunk) == CHUNK or size > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(one)
        size += one.size_bytes
    if chunk:
        yield chunk


def _home(letter: Letter) -> tuple[str, int]:
    """Topic and partition of the first origin, and the partition of the letter."""
    return letter.key.rpartition(".")[0], letter.partition


async def _copies(kafka: Kafka, letters: Sequence[Letter]) -> dict[int, Any]:
    """The newest copies of letters of one partition, by offset."""
    offsets = {one.offset for one in letters}
    found: dict[int, Any] = {}
    async for records in read_range(kafka, topics.DEAD, letters[0].partition, min(offsets), max(offsets) + 1):
        found |= {one.offset: one for one in records if one.offset in offsets}
    return found
