"""The servers that are measured, each a process on a core of its own; the load has the other core."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
SERVER_CORE, LOAD_CORE = "0", "1"
DELAY = "20ms"
STARTED = b"\n"


class Peer(NamedTuple):
    """A kind of server: what the load calls it, and its command for its two ports."""

    kind: str
    command: tuple[str, ...]


class Server(NamedTuple):
    """One that runs."""

    pid: int
    address: str
    publish: str
    token: str


def build(folder: Path, *names: str) -> None:
    """Build the load, and the peers that need it, into this folder. Raises CalledProcessError."""
    for name in ("load", *(["centrifuge"] if any(n.startswith("centrifuge") for n in names) else [])):
        subprocess.run(["go", "build", "-o", str(folder / name), "."], cwd=HERE / name, check=True)
    if "socketio" in names:
        made = folder / "socketio"
        shutil.copytree(HERE / "socketio", made, ignore=shutil.ignore_patterns("node_modules"))
        install = ["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(install, cwd=made, check=True, stdout=sys.stderr)


def peers(folder: Path, *, channels: int) -> dict[str, Peer]:
    """Every peer by name; `{port}` and `{publish}` stand for the ports."""
    python = (sys.executable, "-m")
    centrifuge = (str(folder / "centrifuge"), "-addr", "127.0.0.1:{port}", "-publish", "127.0.0.1:{publish}")
    node = (
        *python,
        "benchmarks.fanout.node",
        "--port",
        "{port}",
        "--publish",
        "{publish}",
        "--channels",
        str(channels),
    )
    return {
        "eventhub": Peer("eventhub", node),
        "raw-write": Peer("raw", (*python, "benchmarks.fanout.raw", "{port}", "{publish}")),
        "centrifuge": Peer("centrifuge", centrifuge),
        "centrifuge-delay": Peer("centrifuge", (*centrifuge, "-write-delay", DELAY)),
        "socketio": Peer("socketio", ("node", str(folder / "socketio" / "server.js"), "{port}", "{publish}")),
    }


@contextlib.contextmanager
def serving(peer: Peer) -> Iterator[Server]:
    """Start it, wait until it says something, and kill it in the end."""
    ports = [_free_port(), _free_port()]
    command = [part.format(port=ports[0], publish=ports[1]) for part in peer.command]
    environ = {**os.environ, "GOMAXPROCS": "1"}
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            ["taskset", "-c", SERVER_CORE, *command], stdout=subprocess.PIPE, stderr=errors, env=environ
        )
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            if not said.endswith(STARTED):
                errors.seek(0)
                raise RuntimeError(f"{command[0]} did not start: {errors.read().decode()[-2000:]}")
            address, publish = (f"127.0.0.1:{port}" for port in ports)
            yield Server(process.pid, address, publish, said.decode().strip())
        finally:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        return int(bound.getsockname()[1])
