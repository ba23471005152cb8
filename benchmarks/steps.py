"""CPU of each pure step over the same real events, in this process, and the records that they make."""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from benchmarks.records import VECTOR, declared
from benchmarks.taker import Taker
from eventhub import record, topics
from eventhub.delivery.channels import MATCH, Channels, Name
from eventhub.delivery.frame import Frame
from eventhub.delivery.hub import Hub
from eventhub.delivery.view import ALL
from eventhub.events import Match
from eventhub.ingest import adapters
from eventhub.ingest.accept import Accepted, Acceptor, Provider
from eventhub.kafka import Kafka, Log, Offsets, Partitioner
from eventhub.record import LogRecord, Outgoing
from eventhub.storage import Row
from eventhub.streams import history, sheet
from eventhub.streams.enrich import Consumed, Enriched, Enricher
from eventhub.streams.memory import Memory
from tests.support.feed import RealMatch

SUBSCRIBERS = 20
PUBLISH = 100
"""Records in one batch of the tail."""


class Steps(NamedTuple):
    """µs of CPU an event by step, the raw records of the events, and their rows."""

    us: dict[str, float]
    records: list[Outgoing]
    rows: list[Row]


class _Stored(NamedTuple):
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]
    offset: int


def measure(matches: Sequence[RealMatch]) -> Steps:
    """Every event of the matches through accept, enrich, row, fold and hub; call it outside of an event loop.

    The hub serves each match's events to 20 subscribers, which take the frames and do nothing with them.
    """
    now = datetime.now(UTC)
    registry = {m.name: declared(m, m.name, now) for m in matches}
    acceptor = Acceptor("broadcast", registry, {}, max_depth=16)
    adapter = adapters.load()["wyscout"]
    items = [(r, Provider(adapter, registry[m.name])) for m in matches for *_, r in m.feed.records]
    us: dict[str, float] = {}

    accepted: list[Accepted] = _timed(us, "accept", items, lambda i: acceptor.accept(i[0], i[1], now, {}))
    enricher = Enricher(registry, Memory())
    now_ms = int(now.timestamp() * 1000)
    raw = [
        Consumed(topics.BROADCAST, n, a.record.value, record.head(a.record.headers), now_ms)
        for n, a in enumerate(accepted)
    ]
    enriched: list[Any] = _timed(us, "enrich", raw, enricher.step)
    assert all(isinstance(one, Enriched) for one in enriched)
    logged = [_Stored(e.match_id.encode(), e.value, [("h", VECTOR + e.tags)], n) for n, e in enumerate(enriched)]
    rows: list[Any] = _timed(us, "row", logged, history.row)
    decode = msgspec.json.Decoder(sheet.Seen).decode
    folds = {name: sheet.begin(match) for name, match in registry.items()}

    def fold(one: _Stored) -> None:
        event = decode(one.value)
        sheet.apply(folds[event.match_id], event)

    _timed(us, "fold", logged, fold)
    us["hub"] = asyncio.run(_publish(registry, enriched))
    return Steps(us, [a.record for a in accepted], rows)


def _no_sheet(match_id: str) -> bytes:
    raise LookupError(match_id)


async def _publish(registry: dict[str, Match], enriched: Sequence[Enriched]) -> float:
    partitioner = Partitioner(8)
    # It is asked only for its epoch and partitions; nothing connects.
    nowhere = Kafka("")
    log = Log(nowhere, Offsets(nowhere), epoch="00000000", partitioner=partitioner)
    hub = Hub(log, registry, Channels(registry, partitioner), _no_sheet, window_s=0.02)
    hub.begin(dict.fromkeys(range(8), 0))
    frames: list[Frame] = []
    for match_id in registry:
        for taker in [Taker(frames) for _ in range(SUBSCRIBERS)]:
            hub.join(Name(MATCH, match_id), ALL, taker, taker.offer)
    records = [
        LogRecord(partitioner(e.match_id), n, e.match_id, record.raw_tags(e.tags).kind.decode(), e.value, 0, ())
        for n, e in enumerate(enriched)
    ]
    started = time.process_time()
    for start in range(0, len(records), PUBLISH):
        hub.publish(records[start : start + PUBLISH])
        # Timers of windows run in their own turn, as they do between two batches of the tail.
        await asyncio.sleep(0)
    took = time.process_time() - started
    for match_id in registry:
        hub.flush(Name(MATCH, match_id), ALL)
    delivered = sum(frame.data.count(b'"type":"event"') for frame in frames)
    assert delivered == SUBSCRIBERS * len(records), f"{delivered} of {SUBSCRIBERS * len(records)} came out of the hub"
    return took / len(records) * 1e6


def _timed(us: dict[str, float], name: str, items: Sequence[Any], step: Callable[[Any], Any]) -> list[Any]:
    started = time.process_time()
    results = [step(item) for item in items]
    us[name] = (time.process_time() - started) / len(items) * 1e6
    return results
