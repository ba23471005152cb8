"""`python -m tests.drills.attackers`: many hostile clients of the stream, each from an address of its own on loopback.

Reads a plan from its input, and writes what each kind was answered, once all were: an HTTP status, the close code of
the stream, `cut` without a word, or `open` if nothing had happened to it by the end; and how many were in `at once`.
"""

import asyncio
import itertools
import json
import struct
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import msgspec

COMMANDS = 300
CROWD = "127.0.9.9"
"""Where those come from who are many at one address."""


class Plan(msgspec.Struct):
    """Whom to attack, by how many, and spread over how long; `tokens` are good ones, for those that flood commands."""

    port: int
    each: int
    """So many connections that are abandoned, so many with bad tokens, so many that flood."""
    crowd: int
    """So many from one address."""
    spread_s: float
    wait_s: float
    """For so long nobody leaves by itself."""
    tokens: list[str]


class One(NamedTuple):
    """One attacker: what it does, and where it comes from."""

    kind: str
    address: str
    says: bytes


def attackers(plan: Plan) -> list[One]:
    """In the order in which they come; the crowd all along."""
    flood = [{"id": n, "type": "unsubscribe", "channel": "match:none"} for n in range(COMMANDS)]
    tokens = itertools.cycle(plan.tokens)
    one_each: list[One] = []
    for number in range(plan.each):
        bad = {"id": 1, "type": "connect", "token": f"eyJ.{number}.forged"}
        good = {"id": 1, "type": "connect", "token": next(tokens)}
        for kind, says in (("abandoned", b""), ("forged", frames([bad])), ("flood", frames([good, *flood]))):
            place = len(one_each)
            one_each.append(One(kind, f"127.0.{1 + place // 250}.{1 + place % 250}", says))
    crowd = [One("crowd", CROWD, b"") for _ in range(plan.crowd)]
    mixed = sorted([*_spread(one_each), *_spread(crowd)], key=lambda placed: placed[0])
    return [one for _, one in mixed]


def _spread(ones: Sequence[One]) -> list[tuple[float, One]]:
    return [(place / len(ones), one) for place, one in enumerate(ones)]


def frames(messages: Sequence[object]) -> bytes:
    """Text frames of a client, one a message; masked with zeros, which leaves them as they are."""
    parts = []
    for message in messages:
        text = json.dumps(message).encode()
        size = bytes([0x80 | len(text)]) if len(text) < 126 else b"\xfe" + struct.pack(">H", len(text))
        parts.append(b"\x81" + size + b"\0\0\0\0" + text)
    return b"".join(parts)


async def attack(one: One, plan: Plan, answered: Counter[str]) -> None:
    """One connection, until it is ended by the server or the wait is over."""
    try:
        async with asyncio.timeout(plan.wait_s):
            answered[f"{one.kind} {await _attack(one, plan.port, answered)}"] += 1
    except TimeoutError:
        answered[f"{one.kind} open"] += 1
    except (OSError, asyncio.IncompleteReadError):
        answered[f"{one.kind} cut"] += 1


async def _attack(one: One, port: int, answered: Counter[str]) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(one.address, 0))
    try:
        writer.write(
            b"GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"Sec-WebSocket-Protocol: eventhub.v1+json\r\n\r\n"
        )
        head = await reader.readuntil(b"\r\n\r\n")
        status = head.split(b" ", 2)[1].decode()
        if status != "101":
            return status
        answered[f"{one.kind} 101"] += 1
        with _inside(one.kind, answered):
            writer.write(one.says)
            return await _closed(reader)
    finally:
        writer.close()


@contextmanager
def _inside(kind: str, answered: Counter[str]) -> Iterator[None]:
    now, most = f"{kind} now", f"{kind} at once"
    answered[now] += 1
    answered[most] = max(answered[most], answered[now])
    try:
        yield
    finally:
        answered[now] -= 1


async def _closed(reader: asyncio.StreamReader) -> str:
    """The close code that the server sends in the end."""
    while True:
        first, size = await reader.readexactly(2)
        if size == 126:
            (size,) = struct.unpack(">H", await reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack(">Q", await reader.readexactly(8))
        body = await reader.readexactly(size)
        if first & 0x0F == 8:
            return str(struct.unpack(">H", body[:2])[0])


async def run(plan: Plan) -> Counter[str]:
    """Everyone, at an even pace over `spread_s`."""
    loop, answered = asyncio.get_running_loop(), Counter[str]()
    ones = attackers(plan)
    began = loop.time()
    async with asyncio.TaskGroup() as together:
        for place, one in enumerate(ones):
            await asyncio.sleep(began + plan.spread_s * place / len(ones) - loop.time())
            together.create_task(attack(one, plan, answered))
    return answered


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)))), flush=True)
