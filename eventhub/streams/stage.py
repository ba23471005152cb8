"""One family of stream processing: a Faust App of its own, its partitions' owners, and the supervisor around it.

An App that crashes is silent when embedded, so it is awaited and built anew while HTTP serves on. Each family has its
own consumer group and its own thread: a stuck one holds back nothing else.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import faust
import faust.auth
import structlog

from eventhub.kafka import Kafka, Offsets
from eventhub.streams import transport
from eventhub.streams.owner import Duty, Membership, Owner

STOP_TIMEOUT_S = 8
BACKOFF_S = (0.5, 15.0)
REQUEST_TIMEOUT_S = 10.0
log = structlog.get_logger(__name__)


class Family(NamedTuple):
    """What a stage runs: its group, its topics, how the duty for a partition is made, and the least time of a batch."""

    name: str
    topics: tuple[str, ...]
    duty: Callable[[int], Duty]
    pace_s: float = 0.005


class Stage:
    """Runs one family until it is closed; rebuilds the Faust App when it crashes."""

    def __init__(
        self, family: Family, *, kafka: Kafka, offsets: Offsets, session_timeout_s: float, data_dir: Path
    ) -> None:
        self.family = family
        self.rebuilt = 0
        self._kafka, self._offsets = kafka, offsets
        self._session_timeout_s, self._data_dir = session_timeout_s, data_dir
        self._owners: dict[int, Owner] = {}
        self._app: Any = None

    @property
    def name(self) -> str:
        """The family's name."""
        return self.family.name

    @property
    def partitions(self) -> list[int]:
        """Partitions that this node owns and works on now."""
        return sorted(p for p, owner in self._owners.items() if owner.duty.ready)

    async def run(self, *, join_after_s: float = 0.0) -> None:
        """Join the group after `join_after_s` and work, for ever; cancel to end, then `close`."""
        await asyncio.sleep(join_after_s)
        delay_s = BACKOFF_S[0]
        while True:
            started = asyncio.get_running_loop().time()
            try:
                self._app = self._build()
                await self._app.start()
                await self._app.wait_until_stopped()
                log.error("stage ended", family=self.family.name, crashed=repr(self._app.crash_reason))
            except asyncio.CancelledError:
                raise
            except Exception as error:
                log.error("stage failed", family=self.family.name, error=repr(error))
            await self.close()
            self.rebuilt += 1
            if asyncio.get_running_loop().time() - started > 60:
                delay_s = BACKOFF_S[0]
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, BACKOFF_S[1])

    async def close(self) -> None:
        """Stop the owners, then the App (which leaves its group); bounded in time."""
        owners, self._owners = self._owners, {}
        await asyncio.gather(*(owner.close() for owner in owners.values()), return_exceptions=True)
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
            broker_heartbeat_interval=min(3.0, self._session_timeout_s / 5),
            broker_rebalance_timeout=self._session_timeout_s,
            broker_request_timeout=max(REQUEST_TIMEOUT_S, self._session_timeout_s),
            stream_buffer_maxsize=4,
            stream_wait_empty=False,
        )
        app.loop = asyncio.get_running_loop()
        transport.install(app, self._assigned, pace_s=self.family.pace_s)
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

    async def _assigned(self, generation: int, tps: set[tuple[str, int]]) -> None:
        """A rebalance is over: only partitions of which every topic is ours are worked on."""
        group = _Group(self._app.consumer)
        membership = group.membership()._replace(generation=generation)
        topics_of: dict[int, set[str]] = {}
        for topic, partition in tps:
            topics_of.setdefault(partition, set()).add(topic)
        whole = {p for p, names in topics_of.items() if names == set(self.family.topics)}
        if partial := sorted(set(topics_of) - whole):
            log.error("partitions assigned in part", family=self.family.name, partitions=partial)
        for p in whole - set(self._owners):
            self._owners[p] = Owner(self.family.name, p, self.family.duty(p), group, self._offsets)
        for p, owner in self._owners.items():
            owner.assign(membership if p in whole else None)
        log.info("assigned", family=self.family.name, generation=generation, partitions=sorted(whole))


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
