"""Delivery, step 3 of the path: tail ▶ hub ▶ connection, on every node, and reads of what passed.

Live delivery needs only the log: it fans out from memory, and history is asked only for what memory no longer holds.
"""

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from starlette.routing import BaseRoute

from eventhub.delivery.beats import Beats
from eventhub.delivery.channels import Channels
from eventhub.delivery.connection import DRAIN_CODE, Connection
from eventhub.delivery.door import Door
from eventhub.delivery.doors import Addresses, Doors, Elsewhere
from eventhub.delivery.feed import Feed, Limits
from eventhub.delivery.frame import Frame
from eventhub.delivery.hub import Hub
from eventhub.delivery.notices import READ_ONLY, Notices
from eventhub.delivery.origin import Origins
from eventhub.delivery.outbox import Backlog
from eventhub.delivery.past import Past
from eventhub.delivery.ports import CatchUp, Check, History, Log, Principal, Registry, Seeds, Still
from eventhub.delivery.reads import Reads
from eventhub.delivery.ring import Ring
from eventhub.delivery.shared import Kept, Shared
from eventhub.delivery.sheets import Sheets
from eventhub.delivery.socket import stream_route
from eventhub.delivery.sse import events_route
from eventhub.delivery.tail import Learn, Tail
from eventhub.delivery.tiers import Tiers
from eventhub.errors import NotFoundError, UnavailableError
from eventhub.record import TellCut, tell_nobody

BEAT = 0.9
"""A heartbeat after this part of `ping_s`, so that it is there in time."""
__all__ = ["READ_ONLY", "Delivery", "Limits", "Notices"]


class Delivery:
    """One node's delivery. `open`, then `run` under the caller's supervision, `drain` and `close`."""

    def __init__(
        self,
        *,
        log: Log,
        history: History,
        seeds: Seeds,
        registry: Registry,
        catch_up_registry: CatchUp,
        check: Check,
        node: str,
        still: Still = lambda principal: principal,
        learn: Learn = lambda _: None,
        limits: Limits | None = None,
        jitter: Callable[[], float] = random.random,
        log_was_cut: TellCut = tell_nobody,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._seeds = seeds
        self._limits = limits = limits or Limits()
        channels = Channels(registry, log.partition_of)
        ring = Ring(limits.ring_bytes, log.partition_of)
        pages: Shared[Any] = Shared(limits.shared_pages_bytes, limits.fetches)

        def seen(delay_s: float) -> tuple[Sheets, Hub, Past]:
            """What those are shown who see everything so late."""
            states = Sheets(log, registry)

            def sheet_of(match_id: str) -> bytes:
                return states.of(match_id).body

            hub = Hub(log, registry, channels, sheet_of, window_s=limits.window_s, delay_s=delay_s)
            return states, hub, Past(log, history, ring, hub, pages)

        sheets, hub, past = seen(0)
        self.notices = Notices(self._tell)
        self._tiers = tiers = Tiers(limits.plan_delays_s, limits.match_delays_s)
        self.tail = Tail(log, ring, sheets, hub, learn, log_was_cut, tiers.take)
        self._feed = Feed(
            node=node,
            source=log,
            channels=channels,
            ring=ring,
            sheets=sheets,
            hub=hub,
            past=past,
            frames=Kept(limits.shared_frames_bytes),
            check=check,
            still=still,
            backlog=Backlog(limits.backlog_bytes),
            beats=Beats(limits.ping_s * BEAT),
            doors=Doors(
                most=limits.connections,
                per_address=limits.connections_per_address,
                per_user=limits.connections_per_user,
                per_address_total=limits.connections_per_address_total,
                per_user_total=limits.connections_per_user_total,
                handshakes_per_s=limits.handshakes_per_s,
                handshakes_burst=limits.handshakes_burst,
                elsewhere=elsewhere,
            ),
            limits=limits,
            notices=self.notices,
            catch_up_registry=catch_up_registry,
            jitter=jitter,
            tier=tiers.feed,
        )

        def delayed(delay_s: float) -> Feed:
            sheets, hub, past = seen(delay_s)
            return replace(self._feed, hub=hub, sheets=sheets, past=past, delay_s=delay_s)

        tiers.build(self._feed, delayed)
        self._reads = Reads(self._opened, registry)
        self._connections: set[Connection] = set()
        self._left = self._leave
        self._empty = asyncio.Event()
        self._open = self._draining = False

    @property
    def ready(self) -> bool:
        """Caught up with the log as it was at start, and not draining."""
        return self.tail.caught_up.is_set() and not self._draining

    @property
    def draining(self) -> bool:
        """New clients are refused for good."""
        return self._draining

    @property
    def connections(self) -> int:
        """How many clients there are."""
        return len(self._connections)

    @property
    def doors(self) -> Doors:
        """Who is in, and who was refused."""
        return self._feed.doors

    @property
    def waiting_bytes(self) -> int:
        """How much waits for clients; a frame that many wait for counts for each of them."""
        return self._feed.backlog.held_bytes

    @property
    def slow(self) -> Mapping[str, int]:
        """What was done about slow clients so far, by step."""
        return self._feed.slow

    def routes(self) -> list[BaseRoute]:
        """The stream and the GET routes; before `open` they answer 503."""
        address_of = Addresses(self._limits.trusted_proxies).of
        origins = Origins(self._limits.allowed_origins)
        door = Door(origins, address_of, self._knock, self._feed.check, self._enter, self._feed.doors.refused)
        stream, events = stream_route(door, self._limits.message_bytes), events_route(door, self._known)
        return [stream, events, *self._reads.routes()]

    async def open(self) -> None:
        """Read the seeds, then note where the tail starts. Raises what the ports raise."""
        seeds, applied = await self._seeds.read()
        self._feed.sheets.seed(seeds, applied)
        await self.tail.open(self._limits.tail_back_s)
        self._tiers.open(seeds, applied, self.tail.positions())
        self._open = True

    async def run(self) -> None:
        """Read the log for ever; ends only by cancellation."""
        await self.tail.run()

    async def drain(self, timeout_s: float) -> None:
        """Take no new clients, and send the ones here away, spread over `timeout_s` seconds.

        They come back no faster than `reconnects_per_s`: who would be too early is told to wait for longer.
        """
        self._draining = True
        leaving = list(self._connections)
        every_s = timeout_s / 2 / max(len(leaving), 1)
        clock = asyncio.get_running_loop().time
        began_s = back_s = clock()
        for number, connection in enumerate(leaving):
            await asyncio.sleep(max(began_s + number * every_s - clock(), 0))
            # Of a loop that stood still nobody is late: the others come back later.
            back_s = max(back_s, clock())
            connection.send_away(DRAIN_CODE, "draining", in_s=back_s - clock())
            back_s += 1 / self._limits.reconnects_per_s
        try:
            async with asyncio.timeout(timeout_s / 2):
                while self._connections:
                    self._empty.clear()
                    await self._empty.wait()
        except TimeoutError:
            pass

    async def close(self) -> None:
        """End every connection that is left; does not wait for the clients."""
        self._draining = True
        for connection in list(self._connections):
            connection.send_away(DRAIN_CODE, "closing")
        self._tiers.close()

    def recheck(self, user: str) -> None:
        """Something of this user's account has changed: end the connections that may not go on."""
        for connection in list(self._connections):
            if connection.user == user:
                connection.recheck()

    def _opened(self) -> Feed:
        if not self._open:
            raise UnavailableError("the node has not reached the log yet", retry_after_s=self._limits.retry_after_s)
        return self._feed

    def _knock(self, address: str) -> None:
        if self._draining:
            self._feed.doors.refused["draining"] += 1
            raise UnavailableError("this node is draining; connect to another", retry_after_s=1)
        self._opened().doors.knock(address, asyncio.get_running_loop().time())

    def _enter(self, principal: Principal | None, address: str = "") -> Connection:
        feed = self._opened()
        if principal is not None:
            # It may have been revoked while the registry was asked, when it was not among those that are rechecked.
            principal = feed.still(principal)
            feed.doors.name(principal.user)
        connection = Connection(feed, principal, address=address, on_end=self._left)
        self._connections.add(connection)
        return connection

    async def _known(self, channel: str) -> None:
        feed = self._opened()
        try:
            feed.channels.name(channel)
        except NotFoundError:
            if feed.channels.may_be(channel):
                await feed.catch_up_registry()
            feed.channels.name(channel)

    def _tell(self, frame: Frame) -> None:
        # A connection that overflows ends itself, which must not change what is walked here.
        for connection in list(self._connections):
            connection.tell(frame)

    def _leave(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._empty.set()
