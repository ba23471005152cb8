"""A node's slot on its data folder, and how it ended last time.

A node that ended uncleanly is a member of its groups until its session is over, and a rebalance in between waits for
it: everybody's work stops. So the next node on that slot joins only then; HTTP and delivery do not wait.
"""

import fcntl
import os
import platform
import time
from pathlib import Path

SLOTS = 64
SLACK_S = 1.0


class Slot:
    """The first free slot of a data folder, held by a lock that the kernel drops with the process."""

    def __init__(self, data_dir: Path) -> None:
        folder = data_dir / "run"
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(SLOTS):
            lock = os.open(folder / f"node-{number}.lock", os.O_CREAT | os.O_RDWR, 0o644)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                continue
            self.number, self._lock = number, lock
            self._alive = folder / f"node-{number}.alive"
            return
        raise RuntimeError(f"more than {SLOTS} nodes on {data_dir}")

    @property
    def name(self) -> str:
        """The node's name: this machine's, and the slot."""
        return f"{platform.node()}-{self.number}"

    def wait_s(self, session_timeout_s: float) -> float:
        """Seconds until the session of this slot's last node must be over; 0 when it ended cleanly."""
        try:
            seen = self._alive.stat().st_mtime
        except FileNotFoundError:
            return 0.0
        return max(0.0, seen + session_timeout_s + SLACK_S - time.time())

    def touch(self) -> None:
        """Say that the node lives; to be called every second."""
        self._alive.touch()

    def rest(self) -> None:
        """The node has left its groups: the next one may join at once."""
        self._alive.unlink(missing_ok=True)

    def leave(self) -> None:
        """The node has left its groups, and gives up the slot."""
        self.rest()
        os.close(self._lock)
