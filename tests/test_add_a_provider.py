"""docs/add-a-provider.md does what it says: its blocks are written, installed, tested and run as they stand there."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from eventhub.events import Match
from eventhub.ingest.adapters import contract
from tests.support.nodes import running
from tests.support.wait import until
from tests.system.conftest import Platform, platform

__all__ = ["platform"]
PAGE = Path(__file__).parents[1] / "docs" / "add-a-provider.md"
BLOCK = re.compile(r"(?:^`(?P<path>[\w./-]+)`\n\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


class Package(NamedTuple):
    """The page's package, written and installed; `shell` holds the commands of the page in order."""

    folder: Path
    installed: Path
    shell: list[str]

    def run(self, *program: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """A program with the package on its path."""
        return subprocess.run(
            program, cwd=self.folder, env=environment(PYTHONPATH=str(self.installed), **environ), **CAPTURED
        )

    def command(self, part: str) -> str:
        """The one block of commands of the page that has this in it."""
        (found,) = [block for block in self.shell if part in block]
        return found


CAPTURED: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "timeout": 100}


def environment(**more: str) -> dict[str, str]:
    """Commands of this environment first; nothing of eventhub's settings, and no way to a package registry."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("EVENTHUB_", "PYTEST_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    return kept | {"PATH": path, "PIP_NO_INDEX": "1", "PYTHONDONTWRITEBYTECODE": "1"} | more


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """Steps 1 to 5."""
    folder = tmp_path_factory.mktemp("provider")
    blocks = [match.groupdict() for match in BLOCK.finditer(PAGE.read_text())]
    for block in blocks:
        if block["path"]:
            file = folder / block["path"]
            file.parent.mkdir(exist_ok=True)
            file.write_text(block["text"])
    made = Package(folder, folder / "installed", [b["text"] for b in blocks if b["language"] == "sh"])
    install = made.command("pip install").split()
    done = made.run(*install, "--quiet", "--target", str(made.installed))
    assert done.returncode == 0, done.stderr
    return made


def test_the_adapter_has_less_than_60_lines_and_the_page_all_its_steps(package: Package) -> None:
    lines = (package.folder / "touchline" / "touchline.py").read_text().splitlines()
    assert len([line for line in lines if line.strip()]) < 60
    assert re.findall(r"^## (\d)\.", PAGE.read_text(), re.MULTILINE) == list("1234567")


def test_the_installed_package_is_found_by_its_entry_point(package: Package) -> None:
    code = "from eventhub.ingest import adapters; print(*sorted(adapters.load()))"
    assert package.run(sys.executable, "-c", code).stdout.split() == ["lastrow", "post", "touchline", "wyscout"]


def test_the_golden_records_map_to_the_pages_golden_events(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(package.installed)
    from touchline import TouchlineAdapter  # type: ignore[import-not-found]

    golden = json.loads((package.folder / "touchline" / "golden.json").read_text())
    match = msgspec.convert(golden["match"], Match)
    records = [json.dumps(pair["record"]).encode() for pair in golden["pairs"]]
    events = contract.check(TouchlineAdapter(), records, match)
    assert [msgspec.to_builtins(event) for event in events] == [pair["event"] for pair in golden["pairs"]]
    feed = TouchlineAdapter().read(package.folder / "touchline" / "match.json")
    assert [json.loads(record) for *_, record in feed.records] == [pair["record"] for pair in golden["pairs"]]


def test_the_pages_own_test_passes_and_fails_for_a_wrong_adapter(package: Package) -> None:
    tested = (*package.command("pytest").split(), "-q", "-p", "no:cacheprovider")
    lean = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    passed = package.run(*tested, **lean)
    assert passed.returncode == 0, passed.stdout
    assert "1 passed" in passed.stdout
    adapter = package.folder / "touchline" / "touchline.py"
    sound = adapter.read_text()
    try:
        for right, wrong in (
            ("0.5 - entry.xy[1]", "entry.xy[1] - 0.5"),
            ('check_clock(half.begins_s + entry.second, "/second")', "half.begins_s + entry.second"),
        ):
            assert right in sound
            adapter.write_text(sound.replace(right, wrong))
            failed = package.run(*tested, **lean)
            assert failed.returncode == 1, failed.stdout
    finally:
        adapter.write_text(sound)


def without_times(answer: Any) -> Any:
    """A dry run's answer without what depends on the hour."""
    for item in answer["items"]:
        for field in ("occurred_at", "accepted_at"):
            item["event"].pop(field, None)
    return answer


async def test_a_node_takes_the_new_providers_records(package: Package, platform: Platform) -> None:
    node = platform._replace(environ=platform.environ | {"PYTHONPATH": str(package.installed)}).node("touchline")
    keys = {"NODE": node.url, "KEY": platform.broadcast_key, "ADMIN_KEY": platform.admin_key}

    def shell(part: str) -> str:
        folder = {"EVENTHUB_DATA_DIR": str(package.folder / "commands")}
        done = package.run("bash", "-euo", "pipefail", "-c", package.command(part), **keys, **folder)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    async with running(node):
        assert json.loads(shell("-X PUT"))["match_id"] == "harbour-mill"
        (answer,) = [m["text"] for m in BLOCK.finditer(PAGE.read_text()) if '"rejected"' in m["text"]]
        assert without_times(json.loads(shell("dry_run"))) == without_times(json.loads(answer))
        assert shell("feed replay") == "harbour-mill-replay: 10 accepted, 0 rejected\n"
        assert "harbour-mill-replay: 10 accepted, 0 rejected" in PAGE.read_text()

        async def final() -> bool:
            sheet = await platform.get(node, "/v1/matches/harbour-mill-replay")
            return bool(sheet["status"] == "final" and sheet["home"]["score"] == 1)

        await until(final, "the match to end 1-0")
        stored = await platform.get(node, "/v1/matches/harbour-mill/events")
        assert stored["items"] == []
