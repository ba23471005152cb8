"""Every SDK against the same faults, played by a scripted node; and with each guarantee taken away, found out."""

import pytest

from clients.conformance.scenarios import SCENARIOS, Scenario
from tests.clients.drivers import Defect, conform, found_out, python_driver, python_with

PYTHON_DEFECTS = (
    Defect(
        "a frame is one message",
        "link.py",
        '[line for line in text.split("\\n") if line]',
        "[text]",
        "answer and state share a frame",
    ),
    Defect(
        "what is unknown breaks it",
        "messages.py",
        "    return None\n\n\ndef normal",
        "    raise KeyError(raw['type'])\n\n\ndef normal",
        "what is unknown is ignored",
    ),
    Defect(
        "it begins anew after a cut",
        "channels.py",
        'wanted["cursor"] = self.cursor',
        'wanted["from"] = "start"',
        "cut in the middle of a frame",
    ),
    Defect(
        "3001 is for good",
        "link.py",
        "FOR_GOOD = range(3500, 4000)",
        "FOR_GOOD = range(3000, 4000)",
        "closed with 3001",
    ),
    Defect(
        "it comes back after 3500",
        "link.py",
        "FOR_GOOD = range(3500, 4000)",
        "FOR_GOOD = range(4000, 4001)",
        "closed with 3500",
    ),
    Defect(
        "it comes back at once",
        "client.py",
        "wait_s = link.retry_after_s",
        "wait_s = 0.0",
        "asked to reconnect",
    ),
    Defect(
        "it ignores the cursors of a reconnect",
        "reading.py",
        'self._channels.saw(raw["cursors"])\n                link.leaving',
        "link.leaving",
        "asked to reconnect",
    ),
    Defect(
        "it ignores the wait of a limit",
        "link.py",
        'return LostError(f"closed with {code} {said}".rstrip(), code=code, retry_after_s=self.retry_after_s)',
        'return LostError(f"closed with {code} {said}".rstrip(), code=code)',
        "sent away by a limit",
    ),
    Defect("it renews no token", "link.py", "if provider is not None:", "if False:", "the token ends"),
    Defect(
        "it hands out an event twice",
        "channels.py",
        "if key in self._known:",
        "if False:",
        "events come twice after a resume",
    ),
    Defect(
        "it takes a revision for the same event",
        "messages.py",
        '(event_id, found.get("revision", 0))',
        "(event_id, 0)",
        "events come twice after a resume",
    ),
    Defect("it remembers beyond a reset", "reading.py", "channel.begin_again()", "channel.begin_again", "a reset"),
    Defect(
        "it takes a reset for no place",
        "reading.py",
        "channel.cursor = message.cursor\n            if",
        "if",
        "cut after a reset",
    ),
    Defect(
        "it resumes from what was skipped",
        "reading.py",
        "        return message\n\n    def _connected",
        "        if isinstance(message, messages.Skipped) and channel is not None:\n"
        "            channel.cursor = message.last\n"
        "        return message\n\n    def _connected",
        "skipped, then cut",
    ),
    Defect(
        "it ignores the cursors of a heartbeat",
        "reading.py",
        'case "heartbeat":\n                self._channels.saw(raw["cursors"])',
        'case "heartbeat":\n                pass',
        "a heartbeat, then cut",
    ),
    Defect(
        "it waits for a dead connection",
        "link.py",
        "SILENCE = 2.5",
        "SILENCE = 2500",
        "a node that says nothing",
    ),
    Defect(
        "it asks again at once",
        "reading.py",
        "asyncio.get_running_loop().time() + wait_s",
        "0.0",
        "refused with a time to come again",
    ),
    Defect(
        "it asks for one channel only",
        "reading.py",
        "self._channels.asked_by(number)",
        "[]",
        "too many changes",
    ),
    Defect(
        "it asks again for what was refused for good",
        "reading.py",
        "self._channels.remove(channel.name)",
        "channel.subscribed = False",
        "one of two channels is refused for good",
    ),
    Defect(
        "it has one cursor for all",
        "reading.py",
        "        channel.cursor = event.cursor",
        "        for channel in self._channels:\n            channel.cursor = event.cursor",
        "two channels",
    ),
    Defect(
        "it does not tell the end of a mode",
        "reading.py",
        "return messages.normal_again() if missed else None",
        "return None",
        "a mode that ended meanwhile",
    ),
)


@pytest.fixture(scope="module")
async def python_found() -> dict[str, list[str]]:
    """What is wrong with the Python SDK, by scenario."""
    return await conform(python_driver(), SCENARIOS)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_python(scenario: Scenario, python_found: dict[str, list[str]]) -> None:
    assert python_found[scenario.name] == []


@pytest.fixture(scope="module")
async def python_defects_found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What the scenario of each defect says of it."""
    folder = tmp_path_factory.mktemp("defects")
    return await found_out(PYTHON_DEFECTS, lambda one: python_with(one, folder / str(PYTHON_DEFECTS.index(one))))


@pytest.mark.parametrize("defect", PYTHON_DEFECTS, ids=lambda d: d.name)
def test_python_is_found_out(defect: Defect, python_defects_found: dict[str, list[str]]) -> None:
    assert python_defects_found[defect.name] != []
