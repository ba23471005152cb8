"""`python -m tests.support.held FLAG …`: eventhub, but a node that finds FLAG stops itself just before it sends.

It freezes between its decision and the send, which no signal from outside can aim at.
"""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from eventhub import topics
from eventhub.cli import main
from eventhub.kafka import FencedWriter
from eventhub.record import Outgoing


def stop_if_told(flag: Path) -> None:
    """Freeze once for each time that the flag is raised."""
    if flag.exists():
        flag.unlink()
        os.kill(os.getpid(), signal.SIGSTOP)


def hold(flag: Path) -> None:
    """Patch the writer of the log."""
    write = FencedWriter.write

    async def held(self: FencedWriter, records: Sequence[Outgoing]) -> int:
        if self.topic == topics.LOG and any(r.value for r in records):
            stop_if_told(flag)
        return await write(self, records)

    FencedWriter.write = held  # type: ignore[method-assign]


if __name__ == "__main__":
    hold(Path(sys.argv.pop(1)))
    main()
