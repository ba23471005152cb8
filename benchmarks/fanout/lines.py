"""Where the publisher's messages come in: lines over TCP, so that a peer pays for no more than reading them."""

import asyncio
from collections.abc import Callable


class Lines(asyncio.Protocol):
    """Passes on each line."""

    def __init__(self, take: Callable[[bytes], object]) -> None:
        self._take = take
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(line)
