"""Sends the corpus to a node, one case after another, and says what was not as expected.

`expect` of a request holds the status (or several) and, where it is told: `code`, `pointer` and a piece of the detail
(`says`) of the problem, how many items were `accepted`, the codes of the `rejected`.
"""

import asyncio
import contextlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import httpx2
import websockets

from tests import corpus_cases as cases

PROBLEM = "application/problem+json"
ANSWER_S = 10
LINES = {"Content-Type": "application/x-ndjson"}


class Target(NamedTuple):
    """A node, credentials by name (keys of sources, `admin`), and what `$MATCH` and the like stand for."""

    url: str
    keys: Mapping[str, str]
    token: Callable[[], str]
    names: dict[str, str]

    def credentials(self, who: str) -> dict[str, str]:
        """Headers of one who is named in the corpus."""
        if who == "nobody":
            return {}
        known = {**self.keys, "token": self.token(), "stranger": "ehk_" + "A" * 43}
        return {"Authorization": f"Bearer {known[who]}"}


class Runner:
    """Runs cases; `accepted` are the ids that the node took, `answers` all bytes that it sent."""

    def __init__(self, target: Target) -> None:
        self.accepted: list[str] = []
        self.answers: list[bytes] = []
        self.wrong: list[str] = []
        self.cases = 0
        self._target = target
        self._runs = itertools.count()
        self._http = httpx2.AsyncClient(timeout=30)
        self._address = httpx2.URL(target.url)

    async def close(self) -> None:
        await self._http.aclose()

    def names(self) -> dict[str, str]:
        """Names for one case: `$RUN` differs each time."""
        return {**self._target.names, "RUN": f"{id(self):x}-{next(self._runs)}"}

    def body(self, spec: Any, names: cases.Names) -> bytes:
        """The bytes of a request's body."""
        return cases.made(spec, names)

    # Requests

    async def request(self, case: cases.Case) -> None:
        """One whole request."""
        names = self.names()
        url = self._address.copy_with(raw_path=cases.made(case.path, names))
        headers: dict[str, Any] = self._target.credentials(case.who)
        headers |= {name: cases.made(value, names) for name, value in case.headers.items()}
        body = self.body(case.body, names)
        answer = await self._send(case.method, url, body, headers)
        if answer is None:
            self._note(case.name, "no answer")
            return
        for fault in _faults(answer, case.expect):
            self._note(case.name, f"{fault}: {answer.status_code} {answer.text[:200]}")

    async def item(self, item: cases.Item) -> None:
        """A hostile item alone, and between two valid ones, which must be taken."""
        names = self.names()
        url = f"{self._target.url}/v1/ingest/{item.source}"
        headers = self._target.credentials(item.source) | LINES
        alone = await self._send("POST", url, item.item, headers)
        neighbours = cases.valid(names, **cases.OF[item.source]), cases.valid(names, **cases.OF[item.source])
        between = await self._send("POST", url, b"\n".join((neighbours[0], item.item, neighbours[1])), headers)
        if alone is None or between is None:
            self._note(item.name, "no answer")
            return
        expect = {"status": 422, "accepted": 0, "rejected": [item.code], "pointer": item.pointer}
        faults = [*_faults(alone, expect), *_faults(between, expect | {"status": 202, "accepted": 2})]
        if between.status_code == 202 and [i["index"] for i in between.json()["items"]] != [0, 2]:
            faults.append("not the neighbours were taken")
        for fault in faults:
            self._note(item.name, f"{fault}: {alone.status_code} {alone.text[:160]} / {between.text[:160]}")

    async def cuts(self) -> None:
        """A valid event cut at every place: as lines, of which only the last is whole, and within an array."""
        names = self.names()
        url, headers = f"{self._target.url}/v1/ingest/broadcast", self._target.credentials("broadcast")
        pieces = list(cases.cuts(names))
        lines = await self._send("POST", url, b"\n".join([*pieces, cases.valid(names)]), headers | LINES)
        assert lines is not None
        expect = {"status": 202, "accepted": 1, "rejected": ["malformed"] * len(pieces)}
        for fault in _faults(lines, expect):
            self._note("a valid event, cut, as lines", fault)
        for piece in pieces:
            array = await self._send("POST", url, b"[" + cases.valid(names) + b"," + piece, headers)
            assert array is not None
            for fault in _faults(array, {"status": 400, "code": "malformed", "pointer": ""}):
                self._note(f"an array, cut in its second item after {len(piece)}", fault)

    async def _send(
        self, method: str, url: httpx2.URL | str, body: bytes, headers: Mapping[str, Any]
    ) -> httpx2.Response | None:
        self.cases += 1
        try:
            answer = await self._http.request(method, url, content=body, headers=dict(headers))
        except httpx2.TransportError:
            return None
        self.answers.append(answer.content + repr(answer.headers).encode())
        if answer.status_code == 202:
            self.accepted += [item["event_id"] for item in answer.json()["items"]]
        return answer

    # Bare sockets

    async def wire(self, case: Mapping[str, Any]) -> None:
        """What goes over a bare socket."""
        self.cases += 1
        names = {**self.names(), "KEY": self._target.keys["broadcast"]}
        reader, writer = await asyncio.open_connection(self._address.host, self._address.port)
        arriving = asyncio.create_task(_first_answer(reader, patient=bool(case.get("slow"))))
        try:
            with contextlib.suppress(ConnectionError):
                for step in case["steps"]:
                    await _step(step, writer, arriving, names)
            if writer.is_closing():
                return
            answer, status, ended = await asyncio.wait_for(arriving, 40 if case.get("slow") else ANSWER_S)
            self.answers.append(answer)
            self._judge(case, answer, status, ended)
        except TimeoutError:
            self._note(case["name"], "neither an answer nor an end")
        finally:
            arriving.cancel()
            writer.close()

    def _judge(self, case: Mapping[str, Any], answer: bytes, status: int | None, ended: bool) -> None:
        if (status or 0) not in (case["status"] or (0,)):
            self._note(case["name"], f"status {status}: {answer[:200]!r}")
        if (case.get("slow") or status in (408, 431) or status is None) and not ended:
            self._note(case["name"], f"the connection stays open after {status}")

    # The stream

    async def stream(self, case: Mapping[str, Any]) -> None:
        """Frames of a WebSocket client."""
        self.cases += 1
        names = {**self.names(), "KEY": self._target.keys["broadcast"]}
        async with websockets.connect(
            self._target.url.replace("http", "ws", 1) + "/v1/stream",
            subprotocols=[websockets.Subprotocol("eventhub.v1+json")],
            max_size=None,
            proxy=None,
            ping_interval=None,
            compression=None,
        ) as socket:
            found = _Found(socket)
            if case.get("connected", True):
                await socket.send(json.dumps({"id": 0, "type": "connect", "token": self._target.token()}))
                await found.until(lambda m: m["type"] == "connected")
            with contextlib.suppress(websockets.ConnectionClosed):
                for frame in case["frames"]:
                    await _put(socket, frame, names)
            if case.get("stays") is not False and "close" not in case:
                with contextlib.suppress(websockets.ConnectionClosed):
                    await socket.send('{"id":"after","type":"unsubscribe","channel":"none"}')
            try:
                fault = await _stream_fault(found, case)
            except TimeoutError:
                fault = "neither an answer nor a close"
            self.answers += found.frames
            if fault:
                self._note(case["name"], f"{fault}: {[f[:200] for f in found.frames[-2:]]} close {socket.close_code}")

    def _note(self, name: str, fault: str) -> None:
        self.wrong.append(f"{name}: {fault}")


class _Found:
    """What came over a stream."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self.frames: list[bytes] = []
        self.messages: list[dict[str, Any]] = []
        self._socket = socket

    async def until(self, wanted: Callable[[dict[str, Any]], bool]) -> bool:
        """True once such a message came, False when the connection ended before. Raises TimeoutError."""
        try:
            async with asyncio.timeout(ANSWER_S):
                while True:
                    frame = await self._socket.recv(decode=False)
                    self.frames.append(frame)
                    new = [json.loads(line) for line in frame.split(b"\n")]
                    self.messages += new
                    if any(map(wanted, new)):
                        return True
        except websockets.ConnectionClosed:
            return False


async def _stream_fault(found: _Found, case: Mapping[str, Any]) -> str | None:
    stayed = await found.until(lambda m: "close" not in case and m.get("id") == "after")
    if stayed and case.get("error") is not None and not any(m["type"] == "error" for m in found.messages):
        # What is asked of Kafka first is answered later than what follows it.
        await found.until(lambda m: m["type"] == "error")
    codes = [m["code"] for m in found.messages if m["type"] == "error"]
    if case.get("error") is not None and case["error"] not in codes:
        return f"told {codes[:3]}, not {case['error']}"
    if "close" in case and found._socket.close_code not in case["close"]:
        return "ended with another code"
    if case.get("stays") and not stayed:
        return "the connection ended"
    return None


async def _put(socket: websockets.ClientConnection, frame: Mapping[str, Any], names: cases.Names) -> None:
    if "text" in frame:
        await socket.send(cases.made(frame["text"], names).decode())
    elif "binary" in frame:
        await socket.send(cases.made(frame["binary"], names))
    else:
        socket.transport.write(cases.made(frame["raw"], names))


async def _step(
    step: Mapping[str, Any], writer: asyncio.StreamWriter, arriving: asyncio.Task[Any], names: cases.Names
) -> None:
    if "close" in step:
        writer.close()
        return
    writer.write(cases.made(step.get("send", step.get("first")), names))
    await writer.drain()
    if "drip" not in step:
        return
    loop, drop = asyncio.get_running_loop(), cases.made(step["drip"], names)
    ends = loop.time() + step["for_s"]
    while loop.time() < ends and not arriving.done():
        writer.write(drop)
        await writer.drain()
        await asyncio.wait([arriving], timeout=step["every_s"])


async def _first_answer(reader: asyncio.StreamReader, *, patient: bool) -> tuple[bytes, int | None, bool]:
    """What came, the first status (None: no answer), and whether the server ended the connection.

    The end is waited for when `patient`, or after a refusal that ends it; else an answer may keep the connection.
    """
    came, status = b"", None
    while True:
        # Whoever keeps the connection after its answer is not waited for long.
        waits_s = None if patient or status is None or status in (408, 431) else 0.1
        try:
            data = await asyncio.wait_for(reader.read(65_536), waits_s)
        except TimeoutError:
            return came, status, False
        except ConnectionError:
            data = b""
        if not data:
            return came, status, True
        came += data
        if status is None and came.startswith(b"HTTP/1.1 ") and len(came) >= 12:
            status = int(came[9:12])


def _faults(answer: httpx2.Response, expect: Mapping[str, Any]) -> Iterator[str]:
    """What an answer has that was not expected."""
    wanted = expect["status"] if isinstance(expect["status"], list) else [expect["status"]]
    if answer.status_code not in wanted:
        yield f"status is not {wanted}"
        return
    if "accepted" in expect or "rejected" in expect:
        yield from _item_faults(answer.json(), expect)
    elif "code" in expect or expect.get("problem"):
        yield from _problem_faults(answer, expect)
    if "allow" in expect and answer.headers.get("allow") != expect["allow"]:
        yield "another Allow"


def _item_faults(told: Mapping[str, Any], expect: Mapping[str, Any]) -> Iterator[str]:
    if told.get("accepted") != expect["accepted"]:
        yield f"not {expect['accepted']} accepted"
    refusals = told.get("rejected", [])
    if [r["code"] for r in refusals] != expect.get("rejected", []):
        yield f"codes are not {expect.get('rejected', [])[:3]}"
    if expect.get("pointer") is not None and any(r["pointer"] != expect["pointer"] for r in refusals):
        yield f"pointer is not {expect['pointer']}"
    if not all(r["detail"] for r in refusals):
        yield "a refusal without a reason"


def _problem_faults(answer: httpx2.Response, expect: Mapping[str, Any]) -> Iterator[str]:
    if answer.headers.get("content-type") != PROBLEM:
        yield "not problem+json"
        return
    told = answer.json()
    if told["status"] != answer.status_code or not told["detail"] or not told["title"] or not told["type"]:
        yield "not a whole problem"
    if "code" in expect and told["code"] != expect["code"]:
        yield f"code is not {expect['code']}"
    if "pointer" in expect and expect["pointer"] not in [e["pointer"] for e in told["errors"]]:
        yield f"no pointer {expect['pointer']}"
    if expect.get("says", "") not in told["detail"]:
        yield f"does not say {expect['says']}"
