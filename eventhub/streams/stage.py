"""One family of stream processing: a Faust App of its own, its partitions' owners, and the supervisor around it.

An App that crashes is silent when embedded, so it is awaited and built anew while HTTP serves on. Each family has its
own consumer group and its own thread: a stuck one holds back nothing else.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import faust
import faust.auth
import structlog

from eventhub.kafka import Bounds, Kafka, Offsets
from eventhub.streams import transport
from eventhub.streams.lease import Membership
from eventhub.streams.owner import Duty, Owner
from eventhub.streams.progress import Progress, Report
from eventhub.tasks import end

STOP_TIMEOUT_S = 8
BACKOFF_S = (0.5, 15.0)
REQUEST_TIMEOUT_S = 10.0
UNPROVEN_S = 20.0
"""For so long, and a session, a proof may be refused by a Kafka that answers; a rebalance ends long before."""
HEARTBEAT_S = 1.0
"""A member that left is noticed by the others at their next heartbeat: until then its partitions stand still."""
log = structlog.get_logger(__name__)


class Family(NamedTuple):
    """What a stage runs: its group, its topics, how the duty for a partition is made, and the least time of a batch.

    `needs` names what it may wait for without being at fault, in the words of the causes of degradation.
    """

    name: str
    topics: tuple[str, ...]
    duty: Callable[[int], Duty]
    pace_s: float = 0.002
    needs: tuple[str, ...] = ("kafka",)


class Stage:
    """Runs one family until it is closed; rebuilds the Faust App when it crashes."""

    def __init__(
        self, family: Family, *, kafka: Kafka, offsets: Offsets, session_timeout_s: float, data_dir: Path
    ) -> None:
        self.family = family
        self.rebuilt = 0
        self.reports: dict[int, Report] = {}
        self.joining_s = 0.0
        self._kafka, self._offsets = kafka, offsets
        self._session_timeout_s, self._data_dir = session_timeout_s, data_dir
        self._owners: dict[int, Owner] = {}
        self._progress: dict[int, Progress] = {}
        self._joining_since: float | None = None
        self._kafka_is_away = False
        self._app: Any = None

    @property
    def name(self) -> str:
        """The family's name."""
        return self.family.name

    @property
    def partitions(self) -> list[int]:
        """Partitions that this node owns and works on now."""
        return sorted(p for p, owner in self._owners.items() if owner.duty.ready)

    def look(self, bounds: Mapping[tuple[str, int], Bounds], at: float) -> None:
        """What Kafka said of (topic, partition)s when it was asked at that time of the loop's clock."""
        for p, progress in self._progress.items():
            progress.look({topic: bounds[topic, p] for topic in self.family.topics}, at)

    def judge(self, away: Collection[str], now: float) -> None:
        """Bring `reports` up to date, and `joining_s`: for how long the group gives this node no assignment.

        To be called about once a second, with what is away. The reports are of the partitions that are this node's,
        also while the family is built anew after a crash.
        """
        missing = [name for name in self.family.needs if name in away]
        self._kafka_is_away = "kafka" in away
        self.reports = {}
        for p, progress in sorted(self._progress.items()):
            owner = self._owners.get(p)
            ready, proving = owner is not None and owner.duty.ready, owner is not None and owner.proving
            self.reports[p] = progress.judge(ready=ready, proving=proving, missing=missing, now=now)
        if self._joining_since is not None and "kafka" in missing:
            self._joining_since = now
        self.joining_s = 0.0 if self._joining_since is None else round(now - self._joining_since, 1)

    def excuse(self, now: float) -> None:
        """What did not happen until now is nobody's fault: the whole process stood still."""
        for progress in self._progress.values():
            progress.excuse(now)
        if self._joining_since is not None:
            self._joining_since = now

    async def run(self, *, join_after_s: float = 0.0) -> None:
        """Join the group after `join_after_s` and work, for ever; cancel to end, then `close`."""
        await asyncio.sleep(join_after_s)
        delay_s = BACKOFF_S[0]
        while True:
            started = asyncio.get_running_loop().time()
            if self._joining_since is None:
                self._joining_since = started
            try:
                self._app = self._build()
                await self._over(self._app)
                log.error("stage ended", family=self.family.name, crashed=repr(self._app.crash_reason))
            except asyncio.CancelledError:
                raise
            except Exception as error:
                log.error("stage failed", family=self.family.name, error=repr(error))
            await self.close()
            self._joining_since = asyncio.get_running_loop().time()
            self.rebuilt += 1
            if asyncio.get_running_loop().time() - started > 60:
                delay_s = BACKOFF_S[0]
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, BACKOFF_S[1])

    async def _over(self, app: Any) -> None:
        """Start the App and return once it has stopped, or cannot prove an assignment that nothing changes any more.

        A member that its coordinator forgot learns of it by its heartbeats; seen once after two of three brokers were
        killed, it did not, and would have waited for ever. So would one whose joining failed while Kafka was away.
        Raises what ended the App, or its group.
        """
        life = asyncio.create_task(_live(app))
        try:
            while not life.done():
                await asyncio.wait({life}, timeout=1)
                await app.consumer.heed()
                since = [o.proving_since for o in self._owners.values() if o.proving_since is not None]
                unproven_s = asyncio.get_running_loop().time() - min(since) if since else 0.0
                if unproven_s > UNPROVEN_S + self._session_timeout_s and not self._kafka_is_away:
                    hint = (
                        "nothing need be done; if it comes again and again, look at the brokers that coordinate groups"
                    )
                    log.error("no proof is accepted", family=self.family.name, for_s=round(unproven_s), hint=hint)
                    return
            life.result()
        finally:
            await end(life)

    async def close(self) -> None:
        """Stop the owners, then the App (which leaves its group); bounded in time."""
        # An owner is let go once it has ended: one that nobody knows would work on with a dead App.
        while self._owners:
            closing = dict(self._owners)
            await asyncio.gather(*(owner.close() for owner in closing.values()), return_exceptions=True)
            self._owners = {p: owner for p, owner in self._owners.items() if closing.get(p) is not owner}
        app, self._app = self._app, None
        if app is not None:
            with suppress(Exception, asyncio.CancelledError):
                await asyncio.wait_for(app.stop(), STOP_TIMEOUT_S)

    def _build(self) -> Any:
        faust_dir = self._data_dir / "faust"
        faust_dir.mkdir(parents=True, exist_ok=True)
        app = faust.App(
            f"eventhub-{self.family.name}",
            broker=[f"kafka://{server}" for server in self._kafka.bootstrap_servers.split(",")],
            broker_credentials=_credentials(self._kafka.credentials),
            store="memory://",
            datadir=str(faust_dir),
            web_enabled=False,
            topic_disable_leader=True,
            topic_allow_declare=False,
            table_standby_replicas=0,
            consumer_auto_offset_reset="earliest",
            broker_session_timeout=self._session_timeout_s,
            broker_heartbeat_interval=min(HEARTBEAT_S, self._session_timeout_s / 5),
            broker_rebalance_timeout=self._session_timeout_s,
            broker_request_timeout=max(REQUEST_TIMEOUT_S, self._session_timeout_s),
            stream_buffer_maxsize=4,
            stream_wait_empty=False,
        )
        app.loop = asyncio.get_running_loop()
        transport.install(app, self._assigned, self._dropped, pace_s=self.family.pace_s)

        @app.on_rebalance_complete.connect  # type: ignore[untyped-decorator]
        async def completed(*_: Any, **__: Any) -> None:
            # Faust does not seek, and so tells the transport nothing, where this node got no partition at all.
            if not app.consumer.assignment():
                # Just after a freeze Kafka names no partition for a moment; left alone, aiokafka asks in five minutes.
                app.consumer.ask_again()
                await self._assigned(app.consumer_generation_id, set())

        source = app.topic(*self.family.topics, schema=transport.BatchSchema(), acks=False)

        @app.agent(source, name=self.family.name)  # type: ignore[untyped-decorator]
        async def dispatch(stream: Any) -> None:
            stream.enable_acks = False
            async for event in stream.events():
                token, records = event.value
                owner = self._owners.get(event.message.partition)
                if owner is not None:
                    owner.offer(event.message.topic, token, records)

        return app

    def _dropped(self, partitions: set[int]) -> None:
        for p in partitions & set(self._owners):
            self._owners[p].miss()

    async def _assigned(self, generation: int, tps: set[tuple[str, int]]) -> None:
        """A rebalance is over: only partitions of which every topic is ours are worked on."""
        if self._app is None:
            return
        group = _Group(self._app.consumer)
        membership = group.membership()._replace(generation=generation)
        topics_of: dict[int, set[str]] = {}
        for topic, partition in tps:
            topics_of.setdefault(partition, set()).add(topic)
        whole = {p for p, names in topics_of.items() if names == set(self.family.topics)}
        if partial := sorted(set(topics_of) - whole):
            log.error("partitions assigned in part", family=self.family.name, partitions=partial, hint="asked again")
            self._app.consumer.ask_again()
        now = asyncio.get_running_loop().time()
        self._joining_since = None
        self._progress = {p: self._progress.get(p) or Progress(self.family.topics, now) for p in sorted(whole)}
        for p in whole:
            if p not in self._owners:
                duty = self.family.duty(p)
                self._owners[p] = Owner(self.family.name, p, duty, group, self._offsets, self._progress[p])
        for p, owner in self._owners.items():
            owner.assign(membership if p in whole else None)
        log.info("assigned", family=self.family.name, generation=generation, partitions=sorted(whole))


async def _live(app: Any) -> None:
    await app.start()
    await app.wait_until_stopped()


class _Group:
    """The group consumer as the owners see it."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self.hold, self.flow, self.seek_partition = consumer.hold, consumer.flow, consumer.seek_partition

    def membership(self) -> Membership:
        return Membership(*self._consumer.thread.membership)

    async def prove(self, membership: Membership, offsets: dict[tuple[str, int], int]) -> bool:
        thread = self._consumer.thread
        proven: bool = await thread.in_thread(thread.prove(membership.generation, membership.member, offsets))
        return proven


def _credentials(options: Mapping[str, Any]) -> Any:
    """The cluster's access as Faust takes it: None, an SSL context, or SASL credentials."""
    context = options.get("ssl_context")
    if "sasl_plain_username" in options:
        return faust.auth.SASLCredentials(
            username=options["sasl_plain_username"],
            password=options["sasl_plain_password"],
            mechanism=options["sasl_mechanism"],
            ssl_context=context,
        )
    return faust.auth.SSLCredentials(context) if context is not None else None
