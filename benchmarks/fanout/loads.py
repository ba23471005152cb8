"""What is put on a server, and what comes of it."""

import json
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.fanout.peers import LOAD_CORE, Peer, serving

POLL = "500us"
"""The client looks by itself; one that blocks makes the server pay for waking it."""


class Load(NamedTuple):
    """So many sockets over so many channels and views, so many messages a second.

    `stuck` more sockets read nothing, `slow` more read 8 KiB a second each.
    """

    sockets: int
    rate: int
    channels: int = 1
    views: int = 1
    stuck: int = 0
    slow: int = 0
    seconds: float | None = None
    idle: bool = False
    poll: bool = True


LOADS = {
    "G1": Load(1_000, 500),
    "G1-blocking": Load(1_000, 500, poll=False),
    "G2": Load(1_000, 50),
    "G3": Load(5_000, 100),
    "G4": Load(1_000, 1_000),
    "G5": Load(5_000, 0, idle=True),
    "G6": Load(1_000, 500, stuck=1),
    "S4": Load(1_600, 1_000, channels=10, stuck=200, slow=200, seconds=40),
    "channels": Load(10_000, 5_000, channels=100, views=3),
}


def put(load: Load, peer: Peer, folder: Path, *, seconds: float) -> dict[str, Any]:
    """Run it once, so long unless it says how long itself; returns what the load says.

    Raises CalledProcessError when it could not be put on.
    """
    seconds = load.seconds or seconds
    with serving(peer) as server:
        command = ["taskset", "-c", LOAD_CORE, str(folder / "load"), "-kind", peer.kind, "-addr", server.address]
        command += ["-publish", server.publish, "-server", str(server.pid), "-token", server.token]
        command += ["-sockets", str(load.sockets), "-rate", str(load.rate), "-seconds", str(seconds)]
        command += ["-channels", str(load.channels), "-views", str(load.views), "-stuck", str(load.stuck)]
        command += ["-slow", str(load.slow)]
        command += ["-poll", POLL] if load.poll else []
        command += ["-idle"] if load.idle else []
        answer = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=60 + 10 * seconds)
    found: dict[str, Any] = json.loads(answer.stdout)
    return found
