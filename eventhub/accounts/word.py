"""The word to every node: records on `account-events`, durable before whoever asked for them is answered."""

from eventhub import auth, topics
from eventhub.kafka import Writer
from eventhub.record import Outgoing

ACK_TIMEOUT_S = 10
Record = tuple[str, bytes | None]


class Word:
    """Writes records. `here` is folded at once, so that this node goes by them before it reads them back."""

    def __init__(self, writer: Writer, here: auth.Accounts | None = None) -> None:
        self._writer, self._here = writer, here

    async def give(self, *records: Record) -> None:
        """Write them in this order; returns once every in-sync replica has them. Raises UnavailableError."""
        if not records:
            return
        outgoing = [Outgoing(name.encode(), value, []) for name, value in records]
        await self._writer.append(topics.ACCOUNTS, 0, outgoing, timeout_s=ACK_TIMEOUT_S)
        if self._here is not None:
            for name, value in records:
                self._here.fold(name, value)
