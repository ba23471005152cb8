"""`python -m benchmarks.stages [--brokers 1|3] [--only STAGE …] [--json] [--quick]`: CPU an event of each.

A stage is the product's own class on a real broker, fed by another process; beside it a bare client does the same I/O:
what it is given over HTTP, fetches, produces and copies, and nothing else. Rounds of the two take turns; printed are
medians in µs of client CPU an event, and the median of the rounds' ratios.
"""

import argparse
import asyncio
import json
import logging
import os
import platform as python
import statistics
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import structlog
import uvicorn

from benchmarks import beside, feeding, records, stage_runs, topic
from benchmarks.platform import ground
from benchmarks.stage_runs import Around
from eventhub import ingest, kafka, storage
from eventhub.record import Outgoing
from eventhub.server import bind
from tests.support.feed import RealMatch, real_matches

ROUNDS, LOOPS = 5, 3
BATCH, LANES, SUBSCRIBERS = 500, 8, 1
LIMIT = 2.0
STAGES = ("accept", "enrichment", "history", "tail", "aggregation")


class Round(NamedTuple):
    """µs of CPU an event."""

    product_us: float
    bare_us: float


def main() -> None:
    """Run it and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=1, help="three replicate every record")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--quick", action="store_true", help="one short round, to see that it works")
    parser.add_argument("--only", nargs="+", choices=STAGES, default=STAGES, help="only these, in path order")
    chosen = parser.parse_args()
    logging.disable(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    beside.like_a_node()
    rounds, loops = (1, 1) if chosen.quick else (ROUNDS, LOOPS)
    result = asyncio.run(measure(rounds, loops, brokers=chosen.brokers, only=chosen.only))
    if chosen.json:
        print(json.dumps(result))
        return
    for name, figures in result.items():
        print(f"{name}: {json.dumps(figures)}")


async def measure(rounds: int, loops: int, *, brokers: int, only: Sequence[str] = STAGES) -> dict[str, Any]:
    """These stages, one after another."""
    matches = real_matches()
    async with AsyncExitStack() as closing:
        on = await closing.enter_async_context(ground(brokers=brokers))
        await topic.make(on.cluster, partitions=on.partitions, replication=on.replication)
        await storage.migrate(on.dsn)
        offsets = kafka.Offsets(on.cluster)
        await offsets.open()
        closing.push_async_callback(offsets.close)
        other = beside.Beside()
        closing.callback(other.close)
        bench = _Bench(Around(on, other, offsets, ingest.Registry()), matches, rounds, loops)
        found = {name: await getattr(bench, name)() for name in only}
    return {
        "events": sum(len(m.feed.records) for m in matches) * loops,
        "rounds": rounds,
        "stages": {name: summary(rows) for name, rows in found.items()},
        "limit": LIMIT,
        "machine": {
            "brokers": brokers,
            "cores": os.cpu_count(),
            "python": python.python_version(),
            "date": datetime.now(UTC).date().isoformat(),
        },
    }


def summary(rows: Sequence[Round]) -> dict[str, float]:
    """Medians; the ratio is that of the rounds' own ratios. Pure."""
    return {
        "product_us": round(statistics.median(row.product_us for row in rows), 2),
        "bare_us": round(statistics.median(row.bare_us for row in rows), 2),
        "ratio": round(statistics.median(row.product_us / row.bare_us for row in rows), 2),
    }


class _Bench:
    """The stages one after another; every round has matches and events of its own."""

    def __init__(self, around: Around, matches: Sequence[RealMatch], rounds: int, loops: int) -> None:
        self._around, self._matches, self._rounds, self._loops = around, matches, rounds, loops

    async def accept(self) -> list[Round]:
        """HTTP in, the raw topic out."""
        rows = []
        async with stage_runs.accept(self._around) as (url, key), _bare_server(self._around) as bare_url:
            for turn in range(self._rounds):
                names = records.named(self._matches, f"accept{turn}-", self._loops)
                records.raw(names, self._around.registry)
                lanes = [
                    feeding.in_turn([feeding.bodies(i, m, BATCH) for i, m in names[n::LANES]]) for n in range(LANES)
                ]
                product_s = await stage_runs.posted(url, key, lanes)
                rows.append(self._round(product_s, await stage_runs.posted(bare_url, key, lanes)))
        return rows

    async def enrichment(self) -> list[Round]:
        """A raw topic in, the log out."""
        on, rows = self._around.on, []
        made = [self._raw(f"enrich{turn}-") for turn in range(self._rounds)]
        async with stage_runs.family(self._around, "enrichment") as work:
            for sent in made:
                product_s = await stage_runs.worked(self._around, work, sent)
                starts = await self._prefill(sent)
                bare_s = await self._around.beside.run(beside.relay, on.cluster, topic.IN, topic.OUT, starts, len(sent))
                rows.append(self._round(product_s, bare_s))
        return rows

    async def history(self) -> list[Round]:
        """The log in, Postgres out."""
        on, rows = self._around.on, []
        made = [self._logged(f"history{turn}-") for turn in range(self._rounds)]
        async with stage_runs.family(self._around, "history") as work:
            for sent in made:
                product_s = await stage_runs.worked(self._around, work, sent)
                starts = await self._prefill(sent)
                bare_s = await self._around.beside.run(beside.store, on.cluster, topic.IN, starts, len(sent), on.dsn)
                rows.append(self._round(product_s, bare_s))
        return rows

    async def tail(self) -> list[Round]:
        """The log in, frames to subscribers out."""
        made = [self._logged(f"tail{turn}-") for turn in range(self._rounds)]
        async with stage_runs.tail(self._around, SUBSCRIBERS) as work:
            return [await self._beside_a_reader(work, sent) for sent in made]

    async def aggregation(self) -> list[Round]:
        """The log in, folds and state events out, which are few: the bare client only reads."""
        made = [self._logged(f"fold{turn}-") for turn in range(self._rounds)]
        async with stage_runs.family(self._around, "aggregation") as work:
            return [await self._beside_a_reader(work, sent) for sent in made]

    async def _beside_a_reader(self, work: stage_runs.Running, sent: Sequence[Outgoing]) -> Round:
        product_s = await stage_runs.worked(self._around, work, sent)
        starts = await self._prefill(sent)
        bare_s = await self._around.beside.run(beside.consume, self._around.on.cluster, topic.IN, starts, len(sent))
        return self._round(product_s, bare_s)

    async def _prefill(self, sent: Sequence[Outgoing]) -> dict[int, int]:
        """Put them where bare clients read; returns where they begin."""
        around = self._around
        starts = await around.offsets.ends(topic.IN, around.on.partitions)
        path = beside.keep(around.on.folder / "records", sent)
        await around.beside.run(beside.fill, around.on.cluster, path, topic.IN, around.on.partitions)
        return starts

    def _raw(self, run: str) -> list[Outgoing]:
        return records.raw(records.named(self._matches, run, self._loops), self._around.registry)

    def _logged(self, run: str) -> list[Outgoing]:
        return records.logged(self._raw(run), self._around.registry)

    def _round(self, product_s: float, bare_s: float) -> Round:
        events = sum(len(m.feed.records) for m in self._matches) * self._loops
        return Round(product_s / events * 1e6, bare_s / events * 1e6)


class _BareIngest:
    """The least that takes lines over HTTP and puts each on a topic as a record, durably, before it answers."""

    def __init__(self, producer: Any, partitioner: kafka.Partitioner) -> None:
        self._producer, self._partitioner = producer, partitioner

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        match_id = parse_qs(scope["query_string"].decode())["match_id"][0]
        key, batch = match_id.encode(), self._producer.create_batch()
        for line in body.split(b"\n"):
            assert batch.append(key=key, value=line, timestamp=None) is not None
        batch.close()
        await (await self._producer.send_batch(batch, topic.IN, partition=self._partitioner(match_id)))
        answer = b'{"accepted":0,"items":[],"rejected":[]}'
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 202, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


@asynccontextmanager
async def _bare_server(around: Around) -> AsyncIterator[str]:
    producer = around.on.cluster.producer()
    await producer.start()
    made = _BareIngest(producer, kafka.Partitioner(around.on.partitions))
    config = uvicorn.Config(made, http="httptools", ws="none", lifespan="off", log_config=None, access_log=False)
    server, bound = uvicorn.Server(config), bind("127.0.0.1", 0, exact=True, setting="")
    # `serve` would take the signals too.
    serving = asyncio.create_task(server._serve([bound]))
    try:
        yield "http://{}:{}".format(*bound.getsockname()[:2])
    finally:
        server.should_exit = True
        await serving
        await producer.stop()


if __name__ == "__main__":
    main()
