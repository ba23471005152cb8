"""Whether the topics are still those that this node has declared.

A node that learns of another incarnation, or finds that Kafka has another topic under the same name, starts over: every
position that it holds (vectors, cursors, progress, the ring) is of a life that is over.
"""

import asyncio

import structlog
from aiokafka.errors import KafkaError

from eventhub.errors import UnavailableError
from eventhub.kafka.declare import PREFIX, Declared
from eventhub.kafka.read import Offsets

ASK_EVERY_S = 1.0
log = structlog.get_logger(__name__)


class Lives:
    """Folds incarnations from `control-events` and asks Kafka for the topics' ids; `over` is set when one differs."""

    def __init__(self, declared: Declared) -> None:
        self.over = asyncio.Event()
        self._declared = declared
        self._told: dict[str, str] = {}
        self._following = False

    def fold(self, key: str, value: bytes | None) -> None:
        """Take a record of `control-events`; those of other keys are left alone."""
        if key.startswith(PREFIX) and value:
            self._told[key.removeprefix(PREFIX)] = value.decode()
            if self._following:
                self._compare("incarnation", self._declared.incarnations, self._told)

    def settle(self) -> None:
        """What the topic had at start is folded; of each key only the last record counts."""
        self._following = True
        self._compare("incarnation", self._declared.incarnations, self._told)

    async def watch(self, offsets: Offsets) -> None:
        """Ask for the ids every second, until one differs; what is missing or unanswered says nothing."""
        while not self.over.is_set():
            try:
                self._compare("id", self._declared.ids, await offsets.topic_ids())
            except (KafkaError, OSError, UnavailableError) as error:
                log.debug("topic ids cannot be asked for", error=repr(error))
            await asyncio.sleep(ASK_EVERY_S)

    def _compare(self, what: str, before: dict[str, str], now: dict[str, str]) -> None:
        changed = {name: (before[name], now[name]) for name in before.keys() & now.keys() if before[name] != now[name]}
        if changed and not self.over.is_set():
            log.error("topics were made anew, starting over", kind=what, changed=changed)
            self.over.set()
