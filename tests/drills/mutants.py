"""`python -m tests.drills.mutants NAME …`: eventhub with one guarantee taken away, which a test must then miss.

Each mutant is a patch made here, before the node starts; the product has no branch for it.
"""

import asyncio
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from eventhub import failpoints, kafka, record, topics
from eventhub.cli import main
from eventhub.ingest import accept
from eventhub.ingest.carrier import Carried, Carrier
from eventhub.ingest.spool import Spool
from eventhub.kafka import FencedWriter, clients, read
from eventhub.record import Outgoing
from eventhub.storage import HistoryReader
from eventhub.storage.history import HistoryWriter
from eventhub.streams import aggregation
from eventhub.streams.aggregation import Aggregation
from eventhub.streams.enrich import Consumed, Enricher
from eventhub.streams.enrichment import Enrichment
from eventhub.streams.memory import Memory
from eventhub.streams.owner import Owner
from eventhub.streams.progress import Progress, Report
from eventhub.streams.tries import Tries
from tests.drills.live import LIVE
from tests.drills.slow import SLOW
from tests.support import wedged

LATE_S = 3


def intact() -> None:
    """Nothing is taken away: the short run by itself is no reason to fail."""


def repeats_pass() -> None:
    """Enrichment does not know which ids are on the log."""
    Memory.fingerprint = lambda *_: None  # type: ignore[method-assign]


def conflicts_are_repeats() -> None:
    """Whatever has the same id counts as the same bytes."""
    accept.fingerprint = lambda _: bytes(8)  # type: ignore[assignment, attr-defined]


def accepted_before_durable() -> None:
    """202 is answered at once, and written a little later."""
    append = Carrier.append
    running: set[asyncio.Task[Any]] = set()

    async def later(self: Carrier, topic: str, by_match: Mapping[str, Sequence[Outgoing]]) -> Carried:
        async def carry() -> None:
            await asyncio.sleep(LATE_S)
            await append(self, topic, by_match)

        running.add(asyncio.create_task(carry()))
        return Carried("log", {})

    Carrier.append = later  # type: ignore[method-assign]


def no_rebuild() -> None:
    """The next owner does not read the log."""

    async def nothing(self: Enrichment, fence: int) -> None:
        self.forget()

    Enrichment._rebuild = nothing  # type: ignore[method-assign]


def no_fence() -> None:
    """The writer has no epoch, so the broker refuses nobody."""
    fence = FencedWriter.fence

    async def plain(self: FencedWriter, node: str) -> int:
        if self.topic != topics.LOG:
            return await fence(self, node)
        self.drop()
        self._producer = self._kafka.producer()
        await self._producer.start()
        written = await (
            await self._producer.send(
                self.topic, None, key=b"fence", partition=self.partition, headers=[("n", node.encode())]
            )
        )
        return int(written.offset)

    FencedWriter.fence = plain  # type: ignore[method-assign]


def progress_first() -> None:
    """History notes its progress in a transaction of its own, before the rows."""

    async def parted(self: HistoryWriter, partition: int, rows: Sequence[Any], *, next_offset: int, **_: Any) -> int:
        start = (await self.progress(partition)).next_offset
        async with self._pool.connection() as connection:
            await connection.execute(
                "update log_progress set next_offset = %s where log_epoch = %s and log_partition = %s",
                (next_offset, self._epoch, partition),
            )
            if rows:
                failpoints.reach("history.before_commit")
            async with connection.transaction():
                await self._copy(connection, partition, [row for row in rows if row.offset >= start])
        return next_offset

    HistoryWriter.apply = parted  # type: ignore[method-assign]


def folds_first() -> None:
    """Aggregation stores its folds before the state events that follow from them."""
    aside = FencedWriter.write_aside

    async def after_the_folds(self: FencedWriter, topic: str, records: Sequence[Outgoing]) -> None:
        # By now the batch is folded and `_next` is behind it, which is all that `_store` writes.
        await owners[self]._store()
        failpoints.reach("aggregation.after_states")
        await aside(self, topic, records)

    owners: dict[FencedWriter, Aggregation] = {}
    apply = Aggregation.apply

    async def noted(self: Aggregation, batches: Any) -> None:
        owners[self._writer] = self
        await apply(self, batches)

    # The product's own point comes when both are stored: nothing would be lost there.
    aggregation.failpoints = SimpleNamespace(reach=lambda _: None)  # type: ignore[attr-defined, assignment]
    FencedWriter.write_aside = after_the_folds  # type: ignore[method-assign]
    Aggregation.apply = noted  # type: ignore[method-assign]


def gaps_untold() -> None:
    """History knows of no gap."""

    async def none(self: HistoryReader, partition: int, after: int) -> None:
        return None

    HistoryReader.lost_above = none  # type: ignore[method-assign]


def topics_are_for_ever() -> None:
    """A topic's name is all that tells it from another."""

    async def no_ids(client: Any) -> dict[str, str]:
        return {}

    read.topic_ids = sys.modules["eventhub.kafka.declare"].topic_ids = no_ids  # type: ignore[attr-defined]


def cut_log_goes_on() -> None:
    """A log that was cut keeps its incarnation."""

    async def nothing(*_: Any, **__: Any) -> None:
        return

    kafka.begin_anew = nothing


def cut_topics_go_on() -> None:
    """An owner does not ask why records come again."""

    async def nothing(self: Owner, topic: str, expected: int) -> None:
        return

    Owner._not_cut = nothing  # type: ignore[method-assign]


def spooled_before_written() -> None:
    """202 is answered from the spool a little before the record is on the disk."""
    put = Spool.put
    later: set[asyncio.Task[None]] = set()

    def at_once(self: Spool, topic: str, match_id: str, records: Sequence[Outgoing]) -> asyncio.Future[int | None]:
        async def write() -> None:
            await asyncio.sleep(LATE_S / 10)
            await put(self, topic, match_id, records)

        later.add(asyncio.create_task(write()))
        done: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    Spool.put = at_once  # type: ignore[method-assign]


def not_held_back() -> None:
    """A match's next events go to Kafka although earlier ones wait in the spool, whose drain begins a little later."""
    run = Spool.run

    async def later(self: Spool, send: Any) -> None:
        await asyncio.sleep(LATE_S)
        await run(self, send)

    Spool.holds = lambda *_: False  # type: ignore[method-assign]
    Spool.run = later  # type: ignore[method-assign]


def nobody_adopts() -> None:
    """What a dead process left in the spool stays there."""

    async def nothing(self: Spool, send: Any) -> None:
        return

    Spool._adopt = nothing  # type: ignore[method-assign]


def acks_of_one() -> None:
    """Ingest takes the leader's word for it, without the other replicas'."""
    made = clients.AIOKafkaProducer  # type: ignore[attr-defined]

    def weak(**options: Any) -> Any:
        fenced = "transactional_id" in options
        return made(**(options if fenced else options | {"acks": 1, "enable_idempotence": False}))

    clients.AIOKafkaProducer = weak  # type: ignore[attr-defined]


def one_for_all() -> None:
    """Progress of one partition counts for every other; one of them is wedged as `tests.support.wedged` does it."""
    wedged.wedge(Path(sys.argv.pop(1)), Enrichment)
    known: list[Progress] = []
    reach, begin = Progress.reach, Progress.__init__

    def noted(self: Progress, names: Iterable[str], now: float) -> None:
        begin(self, names, now)
        known.append(self)

    def reached(self: Progress, offsets: Mapping[str, int], now: float) -> None:
        reach(self, offsets, now)
        for one in known:
            one.excuse(now)

    Progress.__init__, Progress.reach = noted, reached  # type: ignore[method-assign, assignment]


def no_excuse() -> None:
    """What a family needs and is away is no reason to wait."""
    judge = Progress.judge

    def alone(self: Progress, *, missing: Sequence[str], **more: Any) -> Report:
        return judge(self, missing=(), **more)

    Progress.judge = alone  # type: ignore[method-assign]


def failures_forgotten() -> None:
    """An event that fails is passed over, as Faust does it by default."""

    async def nothing(self: Enrichment, dead: object) -> None:
        pass

    Enrichment._bury = nothing  # type: ignore[method-assign]


def one_fails_all() -> None:
    """What one event raises leaves the step, and takes its whole batch with it."""

    class LeftError(BaseException):
        pass

    step, step_all = Enricher.step, Enrichment._step_all

    def unguarded(self: Enricher, raw: Consumed) -> Any:
        try:
            return step(self, raw)
        except Exception as error:
            raise LeftError from error

    def all_or_none(self: Enrichment, *batch: Any) -> None:
        try:
            step_all(self, *batch)
        except LeftError as left:
            raise RuntimeError("an event of the batch failed") from left

    Enricher.step = unguarded  # type: ignore[method-assign]
    Enrichment._step_all = all_or_none  # type: ignore[method-assign, assignment]


def failures_seen() -> None:
    """An event that failed counts as one that is on the log."""
    step = Enricher.step

    def seen(self: Enricher, raw: Consumed) -> Any:
        try:
            return step(self, raw)
        except Exception:
            match_id = self._decode(raw.value or b"").match_id
            self._remember(raw.topic, match_id, record.raw_tags(raw.head), b"", raw.appended_ms)
            raise

    Enricher.step = seen  # type: ignore[method-assign]


def deaths_uncounted() -> None:
    """Nobody knows how many owners a record has ended."""
    Tries.see = lambda *_, **__: None  # type: ignore[method-assign]


MUTANTS = {
    **SLOW,
    **LIVE,
    "gaps-untold": gaps_untold,
    "topics-are-for-ever": topics_are_for_ever,
    "cut-log-goes-on": cut_log_goes_on,
    "cut-topics-go-on": cut_topics_go_on,
    "intact": intact,
    "repeats-pass": repeats_pass,
    "conflicts-are-repeats": conflicts_are_repeats,
    "accepted-before-durable": accepted_before_durable,
    "no-rebuild": no_rebuild,
    "no-fence": no_fence,
    "progress-first": progress_first,
    "folds-first": folds_first,
    "spooled-before-written": spooled_before_written,
    "not-held-back": not_held_back,
    "nobody-adopts": nobody_adopts,
    "acks-of-one": acks_of_one,
    "one-for-all": one_for_all,
    "no-excuse": no_excuse,
    "failures-forgotten": failures_forgotten,
    "one-fails-all": one_fails_all,
    "failures-seen": failures_seen,
    "deaths-uncounted": deaths_uncounted,
}

if __name__ == "__main__":
    MUTANTS[sys.argv.pop(1)]()
    main()
