"""CPU of each pure step over the same real events, in this process, and the records that they make."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from eventhub import record, topics
from eventhub.events import Match, Player, Team
from eventhub.ingest import adapters
from eventhub.ingest.accept import Accepted, Acceptor, Provider
from eventhub.record import Outgoing
from eventhub.storage import Row
from eventhub.streams import history, sheet
from eventhub.streams.enrich import Consumed, Enriched, Enricher
from eventhub.streams.memory import Memory
from tests.support.feed import RealMatch


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
    """Every event of the matches through accept, enrich, row and fold."""
    now = datetime.now(UTC)
    registry = {m.name: _declared(m, now) for m in matches}
    acceptor = Acceptor("broadcast", registry, {}, max_depth=16)
    adapter = adapters.load()["wyscout"]
    items = [(r, Provider(adapter, registry[m.name])) for m in matches for _, _, r in m.feed.records]
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
    vector = record.pack_vector(0, (-1,) * len(topics.RAW), b"\0" * 4 * len(topics.RAW))
    logged = [_Stored(e.match_id.encode(), e.value, [("h", vector + e.tags)], n) for n, e in enumerate(enriched)]
    rows: list[Any] = _timed(us, "row", logged, history.row)
    decode = msgspec.json.Decoder(sheet.Seen).decode
    folds = {name: sheet.begin(match) for name, match in registry.items()}

    def fold(one: _Stored) -> None:
        event = decode(one.value)
        sheet.apply(folds[event.match_id], event)

    _timed(us, "fold", logged, fold)
    return Steps(us, [a.record for a in accepted], rows)


def _timed(us: dict[str, float], name: str, items: Sequence[Any], step: Callable[[Any], Any]) -> list[Any]:
    started = time.process_time()
    results = [step(item) for item in items]
    us[name] = (time.process_time() - started) / len(items) * 1e6
    return results


def _declared(match: RealMatch, now: datetime) -> Match:
    told = match.feed.declaration
    players = [Player(**p) for p in told["players"]]
    return Match(match.name, Team(**told["home"]), Team(**told["away"]), now - timedelta(hours=3), players)
