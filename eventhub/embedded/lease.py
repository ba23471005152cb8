"""Who holds a data folder's services, and which processes they are.

Two locks (flock) in `run/`: `start.lock` is exclusive while services are started or stopped; `holders.lock` is shared
by every node that uses them. The system drops both when a process dies, however it dies, so no count can go wrong.
A process is known by its pid and its start time, for pids are used again.
"""

import fcntl
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

from eventhub.errors import UnavailableError

FIRST_PORT, PORTS = 20_000, 12_000
"""Ports are chosen below those that systems hand out to outgoing connections: so they stay free between starts."""
FREE_WAIT_S = 5.0


class Process(NamedTuple):
    """A process: its pid and when it started, as the system spells it."""

    pid: int
    started: str


class Record(NamedTuple):
    """What `run/<part>.json` remembers: the ports, and the process while there is one."""

    ports: dict[str, int]
    process: Process | None = None

    @classmethod
    def read(cls, path: Path) -> "Record":
        """The record; an empty one where there is none, or none that can be read."""
        try:
            tree = json.loads(path.read_text())
            ports = {str(name): int(port) for name, port in tree["ports"].items()}
            return cls(ports, Process(int(tree["pid"]), str(tree["started"])) if tree.get("pid") else None)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return cls({})

    def write(self, path: Path) -> None:
        """Replaces the file in one step."""
        tree = {"ports": self.ports, **(self.process._asdict() if self.process else {})}
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(tree) + "\n")
        fresh.replace(path)


def process(pid: int) -> Process | None:
    """The process with this pid, or None; one that has ended and is only not collected yet is none."""
    try:
        # The name in brackets may hold blanks and brackets itself: fields are counted after the last one.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else Process(pid, fields[19])
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
    line = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True).stdout  # noqa: S603, S607
    state, _, started = line.strip().partition(" ")
    return None if not state or state.startswith("Z") else Process(pid, started.strip())


def alive(known: Process | None) -> bool:
    """Whether exactly this process still runs."""
    return known is not None and process(known.pid) == known


def find(argument: str) -> Process | None:
    """The process that was started with this last argument: one whose starter died before it could note it."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        except OSError:
            continue
        if words[-1] == os.fsencode(argument):
            return process(int(folder.name))
    return None


def spawn(command: Sequence[str], *, log: Path, owner: tuple[int, int] | None = None) -> Process | None:
    """Starts a command in a session of its own, not as a child of ours, its words appended to `log`.

    `owner` is the (uid, gid) to run as, which only root may ask for. None: it ended at once.
    """
    # The shell gives the pid and goes: so the service is never a zombie of a node, nor hears what its terminal hears.
    script = '"$@" </dev/null >>"$0" 2>&1 & echo $!'
    uid, gid = owner or (None, None)
    done = subprocess.run(  # noqa: S603
        ["/bin/sh", "-c", script, str(log), *command],
        stdout=subprocess.PIPE,
        cwd=log.parent,
        start_new_session=True,
        user=uid,
        group=gid,
        extra_groups=[] if owner else None,
        check=True,
    )
    return process(int(done.stdout))


def stop(known: Process, steps: Sequence[tuple[signal.Signals, float]]) -> None:
    """Ends a process: sends each signal in turn and waits up to its seconds for the end. Blocks that long at most."""
    for number, wait_s in steps:
        if not alive(known):
            return
        try:
            os.kill(known.pid, number)
        except ProcessLookupError:
            return
        wait_for(lambda: not alive(known), wait_s)


def wait_for(condition: Callable[[], bool], wait_s: float, *, step_s: float = 0.03) -> bool:
    """Asks until the condition holds, for at most `wait_s` seconds; whether it did. Blocks."""
    deadline = time.monotonic() + wait_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(step_s)
    return True


def never() -> bool:
    """Nobody gives this start up."""
    return False


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def ports(remembered: dict[str, int], names: Sequence[str], service: str, say: Callable[[str], None]) -> dict[str, int]:
    """A free loopback port for each name: the remembered one where it is still free. Blocks for some seconds at most.

    A process that was killed holds its ports until its last thread is gone, a moment after it counts as ended; and
    nodes that live on know no other address. Where another program keeps one, it is told which `service` moves.
    """
    chosen: dict[str, int] = {}
    for name in names:
        port = remembered.get(name, 0)
        if port and not wait_for(partial(is_free, port), FREE_WAIT_S):
            say(f"Port {port}, where {service} was, is taken: {service} moves, and nodes that run must be restarted.")
        while not port or port in chosen.values() or not is_free(port):
            port = FIRST_PORT + secrets.randbelow(PORTS)
        chosen[name] = port
    return chosen


def last_words(log: Path, *, size_bytes: int = 4000) -> str:
    """The last line of a log that tells of an error, else its last line."""
    try:
        lines = log.read_bytes()[-size_bytes:].decode(errors="replace").strip().splitlines()
    except OSError:
        return "it wrote no log"
    telling = [line for line in lines if re.search(r"fatal|error|exception|denied", line, re.IGNORECASE)]
    return (telling or lines or ["it wrote nothing"])[-1].strip()


class Lease:
    """A node's share in the services of one `run/` folder."""

    def __init__(self, run: Path) -> None:
        run.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._run = run
        self._holders: IO[bytes] | None = None

    @contextmanager
    def exclusive(
        self, say: Callable[[str], None], *, wait_s: float = 180.0, given_up: Callable[[], bool] = never
    ) -> Iterator[None]:
        """Alone in starting and stopping; waits for another node at it.

        Raises UnavailableError after `wait_s`, or once `given_up` says so.
        """
        with (self._run / "start.lock").open("wb") as file:
            if not _locked(file, fcntl.LOCK_EX):
                say("Another node is starting or stopping the services of this folder; waiting for it.")
                taken = False

                def over() -> bool:
                    nonlocal taken
                    taken = _locked(file, fcntl.LOCK_EX)
                    return taken or given_up()

                wait_for(over, wait_s)
                if not taken:
                    raise UnavailableError(
                        f"another node has been starting or stopping services in {self._run} for {wait_s:.0f} s; "
                        "stop it, then start again"
                    )
            yield

    def hold(self) -> None:
        """Becomes a holder. Only inside `exclusive`, so it never waits."""
        self._holders = (self._run / "holders.lock").open("wb")
        fcntl.flock(self._holders, fcntl.LOCK_SH)

    def drop(self) -> bool:
        """Is a holder no more; whether it was the last. Only inside `exclusive`."""
        if self._holders is None:
            return False
        last = _locked(self._holders, fcntl.LOCK_EX)
        self._holders.close()
        self._holders = None
        return last


def _locked(file: IO[bytes], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
