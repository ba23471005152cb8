"""Failpoints: nothing unless armed, only as told, and never in production."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from eventhub import failpoints
from eventhub.errors import ConfigError
from eventhub.failpoints import Armed, FailpointError, Fault

PACKAGE = Path(__file__).parents[1] / "eventhub"
POINT, OTHER = "enrichment.before_write", "history.after_commit"
PROGRAM = """
import os, sys
from eventhub import failpoints
failpoints.arm(os.environ, profile="development")
for turn in range(1, 6):
    failpoints.reach("history.after_commit")
    failpoints.reach("enrichment.before_write")
    print(turn, flush=True)
"""


def run(faults: str, record: Path) -> subprocess.Popen[str]:
    """A process that reaches two points five times, and says after each time which it was."""
    environ = {"PYTHONPATH": str(PACKAGE.parent), "FAILPOINTS": faults, "FAILPOINTS_RECORD": str(record)}
    return subprocess.Popen([sys.executable, "-c", PROGRAM], env=environ, stdout=subprocess.PIPE, text=True)


def test_every_point_is_reached_in_one_place_of_the_path_and_no_other_is() -> None:
    reached = [
        point
        for path in PACKAGE.rglob("*.py")
        for point in re.findall(r'failpoints\.reach\("(.+)"\)', path.read_text())
    ]
    assert sorted(reached) == sorted(failpoints.POINTS)
    assert len(failpoints.POINTS) >= 6


def test_a_node_that_nobody_arms_listens_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    hooks: list[object] = []
    monkeypatch.setattr(sys, "addaudithook", hooks.append)
    failpoints.arm({}, profile="development")
    failpoints.arm({"FAILPOINTS": ""}, profile="production")
    assert hooks == []
    failpoints.arm({"FAILPOINTS": f"{POINT}=raise"}, profile="development")
    assert len(hooks) == 1


def test_production_refuses_to_be_armed(monkeypatch: pytest.MonkeyPatch) -> None:
    hooks: list[object] = []
    monkeypatch.setattr(sys, "addaudithook", hooks.append)
    with pytest.raises(ConfigError, match="production refuses"):
        failpoints.arm({"FAILPOINTS": f"{POINT}=kill"}, profile="production")
    assert hooks == []


def test_faults_are_read_as_they_are_written() -> None:
    assert failpoints.parse(f"{POINT}=kill@3, {OTHER}=pause:/a/flag") == [
        Fault(POINT, "kill", 3, None),
        Fault(OTHER, "pause", 1, Path("/a/flag")),
    ]


@pytest.mark.parametrize("text", ["nowhere=kill", f"{POINT}=explode", POINT, f"{POINT}=kill@x", f"{POINT}=kill,"])
def test_what_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="FAILPOINTS"):
        failpoints.parse(text)


def test_a_point_raises_once_when_it_is_reached_for_the_nth_time(tmp_path: Path) -> None:
    hook = Armed(failpoints.parse(f"{POINT}=raise@2"), tmp_path / "fired")
    told = []
    for _ in range(4):
        hook(failpoints.EVENT, (OTHER,))
        hook("open", (POINT,))
        try:
            hook(failpoints.EVENT, (POINT,))
        except FailpointError:
            told.append("raised")
        else:
            told.append("passed")
    assert told == ["passed", "raised", "passed", "passed"]
    assert (tmp_path / "fired").read_text().split()[:2] == [POINT, "raise"]


def test_a_process_kills_itself_at_the_third_reaching_and_has_recorded_it(tmp_path: Path) -> None:
    process = run(f"{POINT}=kill@3", tmp_path / "fired")
    told, _ = process.communicate(timeout=30)
    assert (process.returncode, told.split()) == (-signal.SIGKILL, ["1", "2"])
    assert (tmp_path / "fired").read_text() == f"{POINT} kill {process.pid}\n"


def test_of_two_processes_only_the_one_that_takes_the_flag_dies(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    processes = [run(f"{OTHER}=kill:{flag}", tmp_path / "fired") for _ in range(2)]
    for process in processes:
        process.communicate(timeout=30)
    assert sorted(process.returncode for process in processes) == [-signal.SIGKILL, 0]
    assert not flag.exists()
    assert len((tmp_path / "fired").read_text().splitlines()) == 1


def test_a_process_pauses_until_it_is_woken(tmp_path: Path) -> None:
    process = run(f"{POINT}=pause@2", tmp_path / "fired")
    assert process.stdout is not None
    assert process.stdout.readline() == "1\n"
    # Returns when the child has stopped, not only when it ended.
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    process.send_signal(signal.SIGCONT)
    told, _ = process.communicate(timeout=30)
    assert (process.returncode, told.split()) == (0, ["2", "3", "4", "5"])
