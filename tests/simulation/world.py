"""A schedule as it runs: nodes, sources, clients and disturbances; then healing, and rest."""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec

from eventhub import topics
from eventhub.errors import UnavailableError
from eventhub.kafka import Declared
from eventhub.record import PROGRESS_KEY, Progress, applied, head
from eventhub.streams import snapshot
from tests.simulation.broker import Broker
from tests.simulation.disk import Disk
from tests.simulation.group import SESSION_S, Group
from tests.simulation.loop import Process, SimLoop
from tests.simulation.node import Node
from tests.simulation.plan import Plan, Step
from tests.simulation.postgres import Postgres
from tests.simulation.source import Sent, build, registry
from tests.simulation.watcher import Watcher

REST_S = 240.0
FAMILIES = ("enrichment", "history", "aggregation")
LIFE = "0badcafe"


class Partitioner:
    """Match m1 lies in partition 1, where there is one."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions

    def __call__(self, match_id: str) -> int:
        return int(match_id[1:]) % self.partitions


class World:
    """Everything of one schedule."""

    def __init__(self, loop: SimLoop, plan: Plan, seed: int, trace: Callable[[str], None] | None = None) -> None:
        self.loop, self.plan, self.settings = loop, plan, plan.settings
        self.net = Random(seed ^ 0x5EED)
        self.disk = Disk()
        self.broker = Broker(loop, self.net)
        self.postgres = Postgres(loop, self.net)
        self.registry = registry()
        self.partitioner = Partitioner(self.settings.partitions)
        self.declared = Declared(dict.fromkeys(topics.TOPICS, LIFE), [])
        self.groups = {f: Group(self.broker, self.net, self.settings.partitions, self.say) for f in FAMILIES}
        self.nodes: list[Node] = []
        self.lives: list[Node] = []
        self.sent: list[Sent] = []
        self.tries: dict[int, int] = {}
        self.acknowledged: set[int] = set()
        self.watchers: list[Watcher] = []
        self._trace = trace
        self._writable = asyncio.Event()
        self._writable.set()
        self._open = 0
        self._tasks: list[asyncio.Task[Any]] = []

    async def writable(self) -> None:
        """Wait for the mode in which Postgres may be written."""
        await self._writable.wait()

    def say(self, process: Process | None, what: str) -> None:
        """A line of the trace."""
        if self._trace is not None:
            self._trace(f"{self.loop.now:9.4f} {process.name if process else 'world':10} {what}")

    async def run(self) -> None:
        """The schedule, healing, rest. Raises AssertionError when it does not come to rest."""
        for index in range(self.settings.nodes):
            self.nodes.append(self._node(index, 0))
        await asyncio.sleep(0.3)
        for number in range(self.settings.watchers):
            watcher = Watcher(self, Random(self.net.random()), f"client{number}")
            self.watchers.append(watcher)
            self._start(watcher.run())
        for step in self.plan.steps:
            await asyncio.sleep(step.pause_s)
            self.say(None, f"{step.kind} {step.args}")
            self._do(step)
        await asyncio.sleep(0.5)
        self._heal()
        await self._rest()

    def _node(self, index: int, life: int) -> Node:
        node = Node(self, f"node{index}.{life}")
        self.lives.append(node)
        return node

    def _start(self, work: Any) -> None:
        self._tasks.append(self.loop.create_task(work))

    def _later(self, delay_s: float, work: Callable[..., object], *args: Any) -> None:
        self.loop.call_later(delay_s, work, *args)

    def _do(self, step: Step) -> None:
        getattr(self, f"_{step.kind}")(*step.args)

    # What sources and clients do

    def _send(self, index: int, events: tuple[Any, ...]) -> None:
        for wanted in events:
            sent = build(len(self.sent), wanted, self.loop.now)
            self.sent.append(sent)
            self.tries[sent.number] = 0
            self._open += 1
            self._start(self._deliver(sent, index % len(self.nodes)))

    async def _deliver(self, sent: Sent, index: int) -> None:
        """Send it until it is acknowledged, as a provider's client does, elsewhere after a failure."""
        while True:
            self.tries[sent.number] += 1
            if await self._try(sent, self.nodes[index]):
                break
            index = self.net.randrange(len(self.nodes))
            await asyncio.sleep(0.3)
        self.acknowledged.add(sent.number)
        self._open -= 1

    async def _try(self, sent: Sent, node: Node) -> bool:
        if node.process.dead:
            return False
        answer: asyncio.Future[bool] = self.loop.create_future()

        async def take() -> None:
            try:
                await node.take(sent)
            except UnavailableError as error:
                self.say(node.process, f"503 for {sent.number}: {error.detail}")
                result = False
            else:
                result = True
            if not answer.done():
                answer.set_result(result)

        self.loop.call_later(0.001, lambda: asyncio.ensure_future(take()), context=node.process.context)
        try:
            async with asyncio.timeout(6):
                return await answer
        except TimeoutError:
            return False

    def _drop(self, number: int, _: float) -> None:
        self.watchers[number].drop()

    def _subscribe(self, number: int, draw: float) -> None:
        if draw < 0.3:
            self.watchers[number].forget()
        else:
            self.watchers[number].drop()

    # Disturbances

    def _crash(self, index: int, after_s: float) -> None:
        index %= len(self.nodes)
        node = self.nodes[index]
        if node.process.dead:
            return
        node.crash()
        self._later(0.05, self.postgres.abort, node.process)
        for consumer in node.consumers:
            self._later(SESSION_S if self.net.random() < 0.7 else 0.05, consumer.group.remove, consumer)
        self._later(after_s, self._restart, index)

    def _restart(self, index: int) -> None:
        if self.nodes[index].process.dead:
            life = sum(node.name.startswith(f"node{index}.") for node in self.lives)
            self.nodes[index] = self._node(index, life)

    def _freeze(self, index: int, for_s: float) -> None:
        node = self.nodes[index % len(self.nodes)]
        if node.process.dead or node.process.frozen:
            return
        node.process.freeze()
        if for_s > SESSION_S:
            for consumer in node.consumers:
                self._later(SESSION_S, self._expire, consumer)
            self._later(SESSION_S + 0.5, self.postgres.abort, node.process)
        self._later(for_s, self._thaw, node)

    def _expire(self, consumer: Any) -> None:
        if consumer.process.frozen:
            consumer.group.remove(consumer)

    def _thaw(self, node: Node) -> None:
        if not node.process.frozen or node.process.dead:
            return
        self.say(node.process, "wakes")
        node.process.thaw()
        for consumer in node.consumers:
            # Its next heartbeat is answered only some time later; until then it knows nothing.
            at = self.loop.now + self.net.random() * 0.8
            self.loop.call_at(at, consumer.woken, context=node.process.context)

    def _rebalance(self, family: str) -> None:
        self.groups[family].rebalance()

    def _broker_down(self, for_s: float) -> None:
        if self.broker.down_since is None:
            self.broker.down_since = self.loop.now
            self._later(for_s, self._broker_up)

    def _broker_up(self) -> None:
        self.broker.down_since = None

    def _mute(self, for_s: float) -> None:
        self.broker.mute = True
        self._later(for_s, self._unmute)

    def _unmute(self) -> None:
        self.broker.mute = False

    def _slow(self, index: int, delay_s: float, for_s: float) -> None:
        process = self.nodes[index % len(self.nodes)].process
        self.broker.slow[process] = delay_s
        self._later(for_s, lambda: self.broker.slow.pop(process, None))

    def _postgres_down(self, for_s: float) -> None:
        self.postgres.down = True
        for node in self.lives:
            self.postgres.abort(node.process)
        self._later(for_s, setattr, self.postgres, "down", False)

    def _lost_commits(self, for_s: float) -> None:
        self.postgres.lose_commits = 0.5
        self._later(for_s, setattr, self.postgres, "lose_commits", 0.0)

    def _read_only(self, for_s: float) -> None:
        self._writable.clear()
        self._later(for_s, self._writable.set)

    def _compact(self, _: float) -> None:
        for p in range(self.settings.partitions):
            self.broker.compact((topics.ENRICH_STATE, p))
            self.broker.compact((topics.MATCH_STATE, p))

    def _cut(self, share: float) -> None:
        """Retention of raw topics never goes beyond what is applied: it is days, and a backlog is minutes."""
        for p in range(self.settings.partitions):
            vector = self._vector(p)
            if vector is not None:
                for topic, offset in zip(topics.RAW, vector, strict=True):
                    self.broker.cut((topic, p), int((offset + 1) * share))
            self.broker.cut((topics.LOG, p), int(self._settled(p) * share))

    def _settled(self, p: int) -> int:
        """Up to here nobody needs the log: the newest snapshot, history, aggregation and every tail are further."""
        states = self.broker.partition(topics.ENRICH_STATE, p).present()
        sheets = self.broker.partition(topics.MATCH_STATE, p).present()
        snapshots = [snapshot._HEAD.unpack(head(one.headers))[0] for one in states if head(one.headers)]
        folded = [msgspec.json.decode(o.value, type=Progress).next for o in sheets if o.value and o.key == PROGRESS_KEY]
        tails = [n.delivery.tail.position(p) for n in self.lives if n.delivery is not None and not n.process.dead]
        return min(max(snapshots, default=0), self.postgres.progress.get((LIFE, p), 0), max(folded, default=0), *tails)

    # Healing and rest

    def _heal(self) -> None:
        self.say(None, "heals")
        self._broker_up()
        self._unmute()
        self.broker.slow.clear()
        self.postgres.down, self.postgres.lose_commits = False, 0.0
        self._writable.set()
        for index, node in enumerate(self.nodes):
            if node.process.frozen:
                self._thaw(node)
            if node.process.dead:
                self._restart(index)

    async def _rest(self) -> None:
        deadline = self.loop.now + REST_S
        before: object = None
        while True:
            await asyncio.sleep(0.4)
            assert not self.loop.failures, self.loop.failures[0]
            why = self._unrest()
            now = self._ends()
            if not why and now == before:
                return
            before = None if why else now
            assert self.loop.now < deadline, f"no rest within {REST_S:g} s: {why}"

    def _ends(self) -> list[int]:
        names = (*topics.RAW, topics.DEAD)
        return [self.broker.partition(t, p).end for t in names for p in range(self.settings.partitions)]

    def _unrest(self) -> str:
        if self._open:
            return f"{self._open} sendings are not acknowledged"
        for p in range(self.settings.partitions):
            why = self._unrest_of(p)
            if why:
                return why
        for watcher in self.watchers:
            if not watcher.caught_up or not self._tailed(watcher):
                return f"{watcher.name} has not caught up"
        spools = [node.spool for node in self.nodes if node.spool is not None]
        if any(spool.records for spool in spools):
            return "a spool is not drained"
        if len(self.disk.folders()) > sum(spool._folder is not None for spool in spools):
            return "a spool of a dead process is left"
        return ""

    def _unrest_of(self, p: int) -> str:
        raw = tuple(self.broker.partition(t, p).end - 1 for t in topics.RAW)
        end = self.broker.partition(topics.LOG, p).end
        if self._vector(p) != raw:
            return f"partition {p}: the log's vector is {self._vector(p)}, the raw topics end at {raw}"
        stored = self.postgres.progress.get((LIFE, p))
        if stored != end:
            return f"partition {p}: history is at {stored} of {end}"
        duties = [
            c.owners[p].duty for n in self.nodes for c in n.consumers if c.family == "aggregation" and p in c.owners
        ]
        if not any(duty.ready and duty.next_offsets()[topics.LOG] == end for duty in duties):
            return f"partition {p}: aggregation is not at {end}"
        return ""

    def _tailed(self, watcher: Watcher) -> bool:
        assert watcher.session is not None
        delivery = watcher.session.node.delivery
        assert delivery is not None
        return all(
            delivery.tail.position(p) == self.broker.partition(topics.LOG, p).end
            for p in range(self.settings.partitions)
        )

    def _vector(self, p: int) -> tuple[int, ...] | None:
        for record in reversed(self.broker.partition(topics.LOG, p).present()):
            packed = head(record.headers)
            if packed:
                return applied(packed)
        return None
