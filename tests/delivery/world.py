"""A node's delivery on the ports in memory, and clients without a network."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from eventhub.delivery import Delivery, Limits
from eventhub.delivery.connection import Connection
from eventhub.delivery.doors import Elsewhere
from eventhub.delivery.frame import Frame
from eventhub.delivery.ports import Principal
from eventhub.errors import UnauthorizedError
from eventhub.events import Match
from eventhub.tasks import end
from tests.delivery.memory import MemoryHistory, MemoryLog, MemorySeeds, check, match

SMALL = Limits(window_s=0.001, page_events=4)


async def until(condition: Callable[[], bool], what: str = "the condition", deadline_s: float = 10) -> None:
    """Give others their turn until the condition holds."""
    try:
        async with asyncio.timeout(deadline_s):
            while not condition():
                await asyncio.sleep(0.0005)
    except TimeoutError:
        raise AssertionError(f"{what} did not come true in {deadline_s} s") from None


class Client:
    """A client whose wire is a list: every frame that was written, and the close."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.frames: list[list[dict[str, Any]]] = []
        self.raw: list[bytes] = []
        self.closed: tuple[int, str] | None = None
        self.aborted = False
        self.stalled = False
        self.held_bytes = 0
        connection.outbox.attach(self)
        connection.open()

    def write(self, frame: Frame) -> None:
        self.raw.append(frame.packed)
        self.frames.append([msgspec.json.decode(line) for line in frame.data.split(b"\n")])
        if self.stalled:
            # As a transport does it: what was written is taken, and then it has enough.
            self.held_bytes += len(frame.packed)
            self.connection.outbox.pause()

    def waiting_bytes(self) -> int:
        return self.held_bytes

    def end(self, code: int, reason: str) -> None:
        self.closed = (code, reason)

    def abort(self) -> None:
        self.aborted = True
        self.connection.end()

    def stall(self) -> None:
        """Take nothing more."""
        self.stalled = True
        self.connection.outbox.pause()

    def take(self) -> None:
        """Take everything again."""
        self.stalled, self.held_bytes = False, 0
        self.connection.outbox.resume()

    def say(self, **command: object) -> None:
        self.connection.handle(msgspec.json.encode({k.rstrip("_"): v for k, v in command.items()}))

    def subscribe(self, channel: str, **more: object) -> None:
        self.say(id=2, type="subscribe", channel=channel, **more)

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [message for frame in self.frames for message in frame]

    def of_type(self, name: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["type"] == name]

    @property
    def ids(self) -> list[str]:
        return [message["event"]["event_id"] for message in self.of_type("event")]

    def stop(self) -> None:
        self.connection.end()


class World:
    """A node with matches m0 to m3 of teams t1, t2 (m3: t3, t4) on two partitions."""

    def __init__(self, limits: Limits = SMALL, elsewhere: Elsewhere | None = None) -> None:
        self.log = MemoryLog()
        self.history = MemoryHistory(self.log)
        self.seeds = MemorySeeds()
        self.registry: dict[str, Match] = {m: match(m) for m in ("m0", "m1", "m2")}
        self.registry["m3"] = match("m3", "t3", "t4", "league")
        self.delivery = Delivery(
            log=self.log,
            history=self.history,
            seeds=self.seeds,
            registry=self.registry,
            catch_up_registry=self._catch_up_registry,
            check=check,
            still=self._still,
            node="n1",
            limits=limits,
            jitter=lambda: 0.5,
            elsewhere=elsewhere,
        )
        self.plans: dict[str, str] = {}
        """By user, where it is another than the token's."""
        self.revoked: set[str] = set()
        """Users that may no longer."""
        self.declared_elsewhere: dict[str, Match] = {}
        """Matches that this node does not know before it asks."""
        self.asking = asyncio.Event()
        self.asking.set()
        """Cleared: a question to the registry is under way until it is set."""
        self.asked = 0
        self._clients: list[Client] = []
        self._task: asyncio.Task[None] | None = None

    def _still(self, principal: Principal) -> Principal:
        if principal.user in self.revoked:
            raise UnauthorizedError("this login was ended")
        return principal._replace(plan=self.plans.get(principal.user, principal.plan))

    async def _catch_up_registry(self) -> None:
        self.asked += 1
        await self.asking.wait()
        self.registry.update(self.declared_elsewhere)

    async def start(self) -> None:
        await self.delivery.open()
        self._task = asyncio.create_task(self.delivery.run())
        await until(lambda: self.delivery.ready, "ready")

    def client(self, token: str | None = "good", address: str = "") -> Client:
        client = Client(self.delivery._enter(None, address))
        self._clients.append(client)
        if token is not None:
            client.say(id=1, type="connect", token=token)
        return client

    async def tailed(self) -> None:
        """Wait until the tail has taken all that the log shows."""
        tail = self.delivery.tail
        await until(lambda: all(tail.position(p) == self.log.shown(p) for p in range(2)), "the tail")

    async def stop(self) -> None:
        for client in self._clients:
            client.stop()
        if self._task is not None:
            await end(self._task)
