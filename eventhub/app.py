"""The composition root: everything is opened here, once, in the order of the path.

1 ingest      eventhub/ingest/routes.py        HTTP in, raw topics out
2 enrichment  eventhub/streams/enrichment.py   raw topics in, the log out
3 delivery    eventhub/delivery/tail.py        the log in, sockets out
4 history     eventhub/streams/history.py      the log in, Postgres out
5 aggregation eventhub/streams/aggregation.py  the log in, match sheets out
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any, NamedTuple, ParamSpec

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from eventhub import (
    __version__,
    admin,
    auth,
    dead_letters,
    degradation,
    delivery,
    documents,
    embedded,
    health,
    ingest,
    kafka,
    metrics,
    mode,
    nodes,
    operations,
    page,
    people,
    record,
    startup,
    storage,
    streams,
    topics,
    web,
)
from eventhub.config import Settings
from eventhub.delivery.doors import Addresses
from eventhub.storage.counts import Counts

P = ParamSpec("P")
COPIES = "copies"
"""The folder of the tables' local copies, in the data folder."""


class Node(NamedTuple):
    """A node that works: its two applications, and its parts for tests and for the demo.

    `over` is set when topics were made anew or the log was cut: leave this node then, and open another.
    """

    app: Starlette
    admin: Starlette
    delivery: delivery.Delivery
    stages: list[streams.Stage]
    writer: kafka.Writer
    over: asyncio.Event


@contextlib.asynccontextmanager
async def node(
    settings: Settings, addresses: embedded.Addresses, slot: streams.Slot, spool: ingest.Spool | None
) -> AsyncIterator[Node]:
    """Open a node in path order; on exit everything closes in the opposite order.

    Blocks until Kafka has declared the topics and this node knows mode, keys and matches. Postgres is not waited for.
    Where there is a spool, Kafka is waited for without limit; else UnavailableError after 30 s.
    """
    name = slot.name
    now_mode = mode.Mode(settings.data_dir / "mode.json", operations.now)
    cluster = operations.reach(settings, addresses)
    declared = await startup.declare(settings, cluster, patient=spool is not None)
    everybody, migrated, lives = nodes.Nodes(operations.now), asyncio.Event(), kafka.Lives(declared)
    control = kafka.Table(cluster, topics.CONTROL, 1, _each(now_mode.fold, everybody.fold, lives.fold))
    partitioner = kafka.Partitioner(settings.kafka.partitions)
    offsets, writer = kafka.Offsets(cluster), kafka.Writer(cluster)
    # One each: a producer has one request under way, and a goal does not wait for positions.
    carrying = {source: kafka.Writer(cluster) for source in topics.SOURCE_TOPIC}
    the_log = kafka.Log(cluster, offsets, epoch=declared.epoch, partitioner=partitioner)
    keys, registry, known_ids = auth.Keys(), ingest.Registry(), ingest.Known()
    copies = settings.data_dir / COPIES
    who = people.people(
        settings,
        addresses.postgres,
        writer,
        now_mode,
        copies=copies,
        postgres_is_lost=lambda: "postgres" in live.notices.causes,
        changed=lambda user: live.recheck(user),
    )
    accounts = kafka.Table(
        cluster, topics.ACCOUNTS, 1, _each(keys.fold, who.folded.fold), kept=copies / topics.ACCOUNTS
    )
    matches = kafka.Table(
        cluster, topics.REGISTRY, partitioner.partitions, registry.fold, kept=copies / topics.REGISTRY
    )

    async def registry_caught_up() -> None:
        await matches.catch_up(settings.ingest.ack_timeout_s)

    async def log_was_cut(lost: record.Lost) -> None:
        await kafka.begin_anew(cluster, declared, lost, node=name)

    # 1 ingest
    late = ingest.Lateness()
    bounds = limits(settings)
    gate, window = ingest.Gate(bounds, late_s=late.late_s), ingest.Window()
    ingest_routes = ingest.routes(
        ingest.Node(
            name=name,
            keys=keys,
            mode=now_mode,
            registry=registry,
            known=known_ids,
            registry_caught_up=registry_caught_up,
            writer=writer,
            carriers={
                source: ingest.Carrier(
                    its_writer,
                    partitioner,
                    spool,
                    lost=lambda: the_log.silent_s() > degradation.KAFKA_SILENT_S,
                    timeout_s=settings.ingest.ack_timeout_s,
                )
                for source, its_writer in carrying.items()
            },
            partitioner=partitioner,
            adapters=ingest.adapters.load(),
            limits=bounds,
            gate=gate,
            window=window,
            now=operations.now,
        )
    )

    # 2 enrichment, 4 history, 5 aggregation
    def read_only() -> bool:
        return now_mode.read_only

    for_history = storage.Pool(addresses.postgres, "history", size=4, statement_timeout_s=30, read_only=read_only)
    for_api = storage.Pool(addresses.postgres, "api", size=8, statement_timeout_s=5, read_only=read_only)
    stages = streams.stages(
        streams.Node(
            kafka=cluster,
            offsets=offsets,
            declared=declared,
            registry=registry,
            catch_up_registry=registry_caught_up,
            dead_letters=writer,
            history=storage.HistoryWriter(for_history, epoch=declared.epoch, topic_id=declared.ids.get(topics.LOG, "")),
            writable=now_mode.writable,
            name=name,
            session_timeout_s=settings.streams.session_timeout_s,
            fence_refresh_s=settings.streams.fence_refresh_s,
            snapshot_s=settings.streams.snapshot_s,
            data_dir=settings.data_dir,
            log_was_cut=log_was_cut,
        ),
        list(settings.streams.families),
    )
    # 3 delivery
    counts = Counts(addresses.redis, node=nodes.key(name, settings.data_dir), own=lambda: live.doors)
    live = delivery.Delivery(
        log=the_log,
        history=storage.HistoryReader(for_api, epoch=declared.epoch),
        seeds=kafka.Seeds(cluster, partitioner.partitions, declared.epoch),
        registry=registry,
        catch_up_registry=registry_caught_up,
        learn=_each(known_ids.learn, window.see),
        check=who.access.check,
        still=who.access.still,
        node=name,
        limits=delivery.Limits(
            tail_back_s=settings.delivery.tail_back_s,
            ring_bytes=settings.delivery.ring_bytes,
            ping_s=settings.delivery.ping_s,
            changes_per_minute=settings.delivery.changes_per_minute,
            changes_burst=settings.delivery.changes_burst,
            connections=settings.delivery.connections,
            connections_per_address=settings.delivery.connections_per_address,
            connections_per_user=settings.delivery.connections_per_user,
            address_total=settings.delivery.connections_per_address_total,
            user_total=settings.delivery.connections_per_user_total,
            reconnects_per_s=settings.delivery.reconnects_per_s,
            trusted_proxies=tuple(settings.http.trusted_proxies),
            allowed_origins=tuple(settings.http.allowed_origins),
            plan_delays_s=settings.delivery.plan_delays_s,
            match_delays_s=settings.delivery.match_delays_s,
        ),
        log_was_cut=log_was_cut,
        elsewhere=counts,
    )
    postgres = storage.Probe(addresses.postgres)
    lost = degradation.ForOperators(live.notices)
    # what is told of all this
    standing = dead_letters.Standing()
    letters = kafka.Follower(cluster, topics.DEAD, partitioner.partitions, standing.take)
    known = health.Health(
        node=name,
        families=stages,
        degraded=lost,
        conditions={
            "caught_up": live.tail.caught_up.is_set,
            "schema": health.Once(lambda: migrated.is_set() or now_mode.read_only or "postgres" in live.notices.causes),
            "not_draining": lambda: not live.draining,
        },
        stuck_after_s=settings.health.stuck_after_s,
        now=operations.now,
    )
    told = nodes.Publisher(
        everybody, writer, known.status, key=nodes.key(name, settings.data_dir), version=__version__, now=operations.now
    )
    parts: list[Any] = [offsets, writer, *carrying.values(), control, accounts, matches, for_history, for_api, who]

    async def change_mode(wanted: mode.Wanted) -> mode.Setting:
        setting = await operations.change_mode(cluster, wanted, node=name)
        await control.catch_up(settings.ingest.ack_timeout_s)
        return setting

    async with contextlib.AsyncExitStack() as closing:
        for part in [postgres, letters, *parts, *stages, live, counts]:
            closing.push_async_callback(part.close)
        await asyncio.gather(*(part.open() for part in parts))
        now_mode.settle()
        everybody.settle()
        lives.settle()
        closing.push_async_callback(told.leave)
        # Entered last, so that on the way out the tasks end before what they work with is closed.
        start = await closing.enter_async_context(startup.tasks())
        start(late.run())
        for table in (control, accounts, matches):
            start(table.run())
        await startup.gate(cluster, settings, start)
        await startup.migrate_soon(addresses.postgres, now_mode, start, migrated)
        join_after_s = slot.wait_s(settings.streams.session_timeout_s)
        start(_stay_alive(slot))
        for stage in stages:
            start(stage.run(join_after_s=join_after_s))
        if spool is not None:
            start(spool.run(ingest.sender(writer, partitioner, timeout_s=settings.ingest.ack_timeout_s)))
        await live.open()
        start(live.run())
        for watched in (
            degradation.mode(delivery.READ_ONLY, lambda: now_mode.current),
            degradation.kafka(the_log.silent_s),
            degradation.postgres(postgres.ask),
        ):
            start(degradation.watch(watched, live.notices, operations.now))
        start(degradation.watch(degradation.redis(counts.away), lost, operations.now))
        start(counts.run())
        start(known.ask(lambda asked: offsets.reach(asked, partitioner.partitions)))
        start(known.watch())
        start(lives.watch(offsets))
        start(told.run())
        start(letters.run())
        start(who.issuers.follow())
        start(who.service.sweep())
        pages = [*page.routes(_page_token(settings)), *documents.routes(__version__)]
        address_of = Addresses(settings.http.trusted_proxies).of
        outside = application([*ingest_routes, *live.routes(), *who.routes(address_of), *pages], now_mode)
        probes = health.routes(known, lambda: told.cluster(streams.FAMILIES, partitioner.partitions))
        seen = metrics.Sources(
            version=__version__,
            families=stages,
            ready=lambda: known.ready,
            causes=lambda: lost.causes,
            letters=lambda: standing.depth(operations.now()) if letters.whole else None,
            spool=spool,
            clients=live,
            gate=gate,
            window=window,
            late_s=late.late_s,
        )
        inside = application([*probes, *metrics.routes(seen), *admin.routes(now_mode, change_mode)], now_mode)
        yield Node(outside, inside, live, stages, writer, lives.over)


def _each(*several: Callable[P, None]) -> Callable[P, None]:
    """One that calls each: of folds, each leaves the others' keys alone."""

    def all_of_them(*args: P.args, **named: P.kwargs) -> None:
        for one in several:
            one(*args, **named)

    return all_of_them


def limits(settings: Settings) -> ingest.Limits:
    """The bounds of a request to ingest."""
    return ingest.Limits(
        max_body_bytes=settings.ingest.max_body_bytes,
        max_items=settings.ingest.max_items,
        max_depth=settings.ingest.max_depth,
        ack_timeout_s=settings.ingest.ack_timeout_s,
        max_pending_bytes=settings.ingest.max_pending_bytes,
        items_per_s=settings.ingest.items_per_second,
        items_burst=settings.ingest.items_burst,
        bytes_per_s=settings.ingest.bytes_per_second,
        match_delays_s=settings.delivery.match_delays_s,
    )


def application(routes: list[BaseRoute], now_mode: mode.Mode) -> Starlette:
    """The ASGI application of one port."""
    made = Starlette(
        routes=routes,
        middleware=[Middleware(web.ModeHeader, mode=lambda: now_mode.current.mode), Middleware(web.Guard)],
        exception_handlers=web.handlers(),
    )
    made.router.redirect_slashes = False
    return made


def _page_token(settings: Settings) -> page.MakeToken | None:
    """How the page gets a token: only in development, where whoever reaches the node may watch."""
    if settings.profile != "development":
        return None
    tokens = operations.tokens(settings)

    def make() -> tuple[str, datetime]:
        now = operations.now()
        return tokens.sign("page", "free", now), now + auth.TOKEN_LIFE

    return make


async def _stay_alive(slot: streams.Slot) -> None:
    while True:
        slot.touch()
        await asyncio.sleep(1)
