"""Step 5 of the path: the log in, match sheets out, as state events and on `match-state`.

The fold of each match goes to `match-state` with its next offset, through a fenced writer, so that the next owner goes
on exactly where this one stopped. State events are functions of the log alone: named by their cause, their
once-a-second limit read from the records, never from a clock; done again after a crash they are the same and
enrichment drops them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
import structlog

from eventhub import failpoints, record, topics
from eventhub.events import Match, RawEvent
from eventhub.identity import identity
from eventhub.kafka import Declared, FencedWriter, Kafka, read_range
from eventhub.record import PROGRESS_KEY, MatchState, Outgoing, Progress
from eventhub.streams import sheet
from eventhub.streams.lease import Lease
from eventhub.streams.owner import Batch

EMIT_EVERY_MS = 1000
STORE_EVERY_S = 1.0
IGNORED = frozenset((b"n:state", b"b:state", b"b:stats", b"n:translation", b"b:tracking_frame", b"n:post"))
log = structlog.get_logger(__name__)


class _Folded(sheet.Seen, kw_only=True):
    """What the fold reads, and the time that limits state events."""

    accepted_at: datetime


class _Held(msgspec.Struct):
    """One match while it is owned here."""

    fold: sheet.Fold
    next: int
    emitted_ms: int


class Surroundings(NamedTuple):
    """What every partition of this family shares on a node."""

    kafka: Kafka
    declared: Declared
    registry: Mapping[str, Match]
    catch_up_registry: Callable[[], Awaitable[None]]
    node: str


class Aggregation:
    """The duty of one log partition."""

    topics: tuple[str, ...] = (topics.LOG,)

    def __init__(self, partition: int, around: Surroundings, *, refresh_s: float) -> None:
        self.partition, self._around = partition, around
        self.refresh_s: float | None = refresh_s
        self._writer = FencedWriter(around.kafka, f"aggregate-{partition}", topics.MATCH_STATE, partition)
        self._decode = msgspec.json.Decoder(_Folded).decode
        self._encode = msgspec.json.Encoder().encode
        self.forget()

    def forget(self) -> None:
        """The next `acquire` reads everything from `match-state`."""
        self.ready = False
        self._held: dict[str, _Held] = {}
        self._changed: set[str] = set()
        self._next = 0
        self._store_at = 0.0
        self._writer.last = None

    async def release(self) -> None:
        """Let go of the producer; what is not stored is folded again by the next owner."""
        self.forget()
        self._writer.drop()

    def next_offsets(self) -> dict[str, int]:
        """Behind the last folded record."""
        return {topics.LOG: self._next}

    async def acquire(self, lease: Lease) -> None:
        """Prove, fence `match-state`, and read it up to the fence."""
        await lease.prove({(topics.LOG, self.partition): self._next})
        lease.check()
        fence = await self._writer.fence(self._around.node)
        last = self._writer.last
        if last is None or fence != last + 1:
            await self._rebuild(fence)
        self._writer.last = fence
        self.ready = True

    async def apply(self, batches: Sequence[Batch]) -> None:
        """Fold the records; returns when the state events that follow are acknowledged."""
        states: list[Outgoing] = []
        for _, consumed in batches:
            await self._know_matches(consumed)
            for one in consumed:
                if one.value is not None and record.kind(record.head(one.headers)) not in IGNORED:
                    self._fold(one, states)
            self._next = consumed[-1].offset + 1
        if states:
            await self._writer.write_aside(topics.STATS, states)
            failpoints.reach("aggregation.after_states")
        now = asyncio.get_running_loop().time()
        if states or (self._changed and now >= self._store_at):
            await self._store()
            self._store_at = now + STORE_EVERY_S

    def _fold(self, one: Any, states: list[Outgoing]) -> None:
        try:
            self._fold_one(one, states)
        except Exception as error:
            # Whoever starts over meets it again, and the sheets of all matches here would stand still for ever.
            log.error(
                "event is left out of its sheet",
                partition=self.partition,
                offset=one.offset,
                match=(one.key or b"").decode(errors="replace"),
                error=repr(error)[:300],
                hint="the log and history have it, the sheet does not: a defect of the fold, please report it",
            )

    def _fold_one(self, one: Any, states: list[Outgoing]) -> None:
        event = self._decode(one.value)
        match = self._around.registry[event.match_id]
        held = self._held.get(event.match_id)
        if held is None:
            held = self._held[event.match_id] = _Held(sheet.begin(match), 0, 0)
        if one.offset < held.next:
            return
        held.next = one.offset + 1
        change = sheet.apply(held.fold, event)
        if change == "none":
            return
        self._changed.add(event.match_id)
        accepted_ms = int(event.accepted_at.timestamp() * 1000)
        if change == "key" or accepted_ms - held.emitted_ms >= EMIT_EVERY_MS:
            held.emitted_ms = accepted_ms
            states.append(self._state(event, held.fold, match, one.offset, change == "key"))

    def _state(self, event: _Folded, fold: sheet.Fold, match: Match, cause: int, key: bool) -> Outgoing:
        """The state event; lane normal when score, card or period changed, else bulk."""
        name = f"{match.match_id}:{cause}"
        who = identity(f"aggregation.{self._around.declared.epoch}", match.match_id, name, 0, b"")
        shown = sheet.sheet(fold, match)
        raw = RawEvent(
            event_id=who.text,
            source="aggregation",
            match_id=match.match_id,
            type="state",
            occurred_at=event.accepted_at,
            accepted_at=event.accepted_at,
            source_event_id=name,
            period=shown.period,
            clock_s=shown.clock_s,
            payload=msgspec.Raw(self._encode({"sheet": shown, "cause": cause})),
        )
        kind = b"n:state" if key else b"b:state"
        headers = [("h", record.pack_tags(who.packed, b"", kind, cause))]
        return Outgoing(match.match_id.encode(), self._encode(raw), headers)

    async def _know_matches(self, consumed: Sequence[Any]) -> None:
        asked = {one.key.decode() for one in consumed if one.value is not None}
        if not asked <= self._around.registry.keys():
            await self._around.catch_up_registry()

    async def _store(self) -> None:
        """Each changed match with its next offset, then the partition's progress."""
        epoch = self._around.declared.epoch
        records = []
        for match_id in self._changed:
            held = self._held[match_id]
            shown = sheet.sheet(held.fold, self._around.registry[match_id])
            state = MatchState(
                epoch=epoch,
                next=self._next,
                emitted_ms=held.emitted_ms,
                sheet=msgspec.Raw(self._encode(shown)),
                fold=msgspec.Raw(self._encode(held.fold)),
            )
            records.append(Outgoing(match_id.encode(), self._encode(state), []))
        records.append(Outgoing(PROGRESS_KEY, self._encode(Progress(epoch, self._next)), []))
        await self._writer.write(records)
        self._changed.clear()

    async def _rebuild(self, fence: int) -> None:
        """Every match's fold and the progress; of another log's life the folds stay and the offsets do not."""
        self.forget()
        epoch = self._around.declared.epoch
        async for records in read_range(self._around.kafka, topics.MATCH_STATE, self.partition, 0, fence):
            for consumed in records:
                if consumed.value is None:
                    continue
                if consumed.key == PROGRESS_KEY:
                    progress = msgspec.json.decode(consumed.value, type=Progress)
                    self._next = progress.next if progress.epoch == epoch else 0
                else:
                    state = msgspec.json.decode(consumed.value, type=MatchState)
                    self._held[consumed.key.decode()] = _Held(
                        msgspec.json.decode(state.fold, type=sheet.Fold),
                        state.next if state.epoch == epoch else 0,
                        state.emitted_ms,
                    )
