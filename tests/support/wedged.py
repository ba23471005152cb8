"""`python -m tests.support.wedged FLAG …`: eventhub, but while the file FLAG is there, one partition goes wrong.

FLAG holds `FAMILY PARTITION HOW`: `hang`, its batches are never done; `swallow`, they are taken and nothing is done;
`block`, the event loop stands still.
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eventhub.cli import main
from eventhub.streams.aggregation import Aggregation
from eventhub.streams.enrichment import Enrichment
from eventhub.streams.history import History
from eventhub.streams.owner import Batch


def told(flag: Path) -> list[str]:
    """What goes wrong now, in three words."""
    return flag.read_text().split() if flag.exists() else ["", "", ""]


def stand_still() -> None:
    """A name to be found in the stacks."""
    time.sleep(3600)


def wedge(flag: Path, duty: Any) -> None:
    """Patch one family."""
    apply = duty.apply
    name = duty.__name__.lower()

    async def wedged(self: Any, batches: Sequence[Batch]) -> None:
        family, partition, how = told(flag)
        if (family, partition) != (name, str(self.partition)):
            await apply(self, batches)
        elif how == "hang":
            await asyncio.Event().wait()
        elif how == "block":
            stand_still()

    duty.apply = wedged


if __name__ == "__main__":
    where = Path(sys.argv.pop(1))
    for one in (Enrichment, History, Aggregation):
        wedge(where, one)
    main()
