"""How commands end: with the promised code, quietly, and with each thing on the stream where it belongs."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eventhub import errors
from tests.cli.process import clean, run, run_on_terminal, start
from tests.cli.serving import answering, nothing

COLOUR = re.compile(r"\x1b\[[0-9;]*(3[0-7]|4[0-7]|9[0-7]|38|48)[0-9;]*m")
RAISE = "from eventhub import cli, errors\n@cli.app.command\ndef doomed():\n    raise {}\ncli.main()"
SAY = "import sys; sys.argv[0] = 'eventhub'; from eventhub.cli.console import data, meter, say\n"
BAR = SAY + "with meter() as bar:\n    bar('match', 1, 2)\n    bar('match', 2, 2)\nsay('done')\ndata('data')"
MATCH = Path(__file__).parents[3] / "shared" / "data" / "broadcast" / "2057954.json.gz"


def doomed(expression: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", RAISE.format(expression), "doomed"],
        capture_output=True,
        text=True,
        env=clean(environ),
        timeout=60,
    )


@pytest.mark.parametrize(
    ("arguments", "environ", "code", "word"),
    [
        ([], {}, 0, "Usage: eventhub"),
        (["--version"], {}, 0, "0."),
        (["config", "show"], {}, 0, "http.port"),
        (["nope"], {}, 64, "nope"),
        (["serve", "--port", "many"], {}, 64, "port"),
        (["config", "sho"], {}, 64, "show"),
        (["status", "--nope"], {}, 64, "--nope"),
        (["status"], {"EVENTHUB_ADMIN__PORT": "0"}, 64, "--admin"),
        (["mode", "set", "read-only"], {}, 64, "--reason"),
        (["events", "tail", "scores", "--node", "http://192.0.2.1"], {}, 64, "--token"),
        (["feed", "replay", "gone.json", "--provider", "wyscout", "--match-id", "m"], {}, 65, "gone.json"),
        (["config", "show", "--config", "gone.toml"], {}, 78, "gone.toml"),
        (["config", "show"], {"EVENTHUB_PROFILE": "production"}, 78, "EVENTHUB_POSTGRES__DSN"),
        (["status"], {"EVENTHUB_ADMIN__PORT": "-1"}, 78, "admin.port"),
        (["serve", "--port", "70000"], {}, 78, "http.port"),
        (["serve"], {"EVENTHUB_DATA_DIR": "/dev/null/x"}, 78, "EVENTHUB_DATA_DIR"),
        (["token", "create"], {"EVENTHUB_AUTH__SIGNING_KEY": "sesame"}, 78, "auth.signing_key"),
    ],
)
def test_codes_that_need_no_server(
    arguments: list[str], environ: dict[str, str], code: int, word: str, tmp_path: Path
) -> None:
    ended = run(*arguments, cwd=tmp_path, **environ)
    assert ended.returncode == code, ended.stderr
    assert word in (ended.stderr if code else ended.stdout)
    assert "Traceback" not in ended.stderr
    assert (ended.stdout == "") == (code != 0)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("UsageError", 64),
        ("MalformedError", 65),
        ("RejectedError", 65),
        ("NotFoundError", 65),
        ("ConflictError", 65),
        ("UnavailableError", 69),
        ("LimitError", 75),
        ("UnauthorizedError", 77),
        ("ForbiddenError", 77),
        ("ConfigError", 78),
    ],
)
def test_a_refusal_ends_with_its_code_and_one_sentence(name: str, code: int) -> None:
    ended = doomed(f"errors.{name}('the reason')")
    assert ended.returncode == code
    assert ended.stderr == f"{getattr(errors, name).title}: the reason\n"
    assert ended.stdout == ""


def test_a_defect_shows_where_it_is_and_has_a_code_of_its_own() -> None:
    ended = doomed("ZeroDivisionError('oops')")
    assert ended.returncode == 70
    assert "Traceback" in ended.stderr and "oops" in ended.stderr


def test_a_refusal_shows_where_it_came_from_only_when_asked_to() -> None:
    ended = doomed("errors.ConfigError('x')", EVENTHUB_DEBUG="1")
    assert ended.returncode == 78
    assert "Traceback" in ended.stderr and "Configuration error: x" in ended.stderr
    assert run("config", "show", EVENTHUB_DEBUG="1").returncode == 0


def replay(node: str, *more: str) -> list[str]:
    return [
        "feed",
        "replay",
        str(MATCH),
        "--provider",
        "wyscout",
        "--match-id",
        "m",
        "--node",
        node,
        "--key",
        "k",
        *more,
    ]


def test_a_node_that_does_not_answer_is_unavailable(tmp_path: Path) -> None:
    with nothing() as node:
        tail = run("events", "tail", "scores", "--node", node, "--token", "t", "--give-up-after", "0.1")
        feed = run(*replay(node, "--give-up-after", "0.1"), cwd=tmp_path)
        status = run("status", "--admin", node)
    assert [ended.returncode for ended in (tail, feed, status)] == [69, 69, 69]
    assert tail.stdout + feed.stdout + status.stdout == ""


def test_a_node_that_forbids_it_is_not_allowed(tmp_path: Path) -> None:
    with answering(403, {"detail": "this key may not"}) as node:
        ended = run(*replay(node), cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (77, "")
    assert "this key may not" in ended.stderr


def test_a_terminal_gets_a_bar_and_a_pipe_gets_lines() -> None:
    terminal = run_on_terminal(sys.executable, "-c", BAR)
    assert "━" in terminal.stderr and "\x1b[" in terminal.stderr
    pipe = subprocess.run([sys.executable, "-c", BAR], capture_output=True, text=True, env=clean({}), timeout=60)
    assert pipe.stderr == "match: 1 of 2\nmatch: 2 of 2\ndone\n"
    assert terminal.stdout == pipe.stdout == "data\n"


def test_no_color_takes_the_colours_and_leaves_the_words() -> None:
    failing = (sys.executable, "-m", "eventhub", "status", "--admin", "http://127.0.0.1:1")
    bright, plain = run_on_terminal(*failing), run_on_terminal(*failing, NO_COLOR="1")
    assert COLOUR.search(bright.stderr)
    assert not COLOUR.search(plain.stderr)
    assert "no node answers" in plain.stderr
    bar = run_on_terminal(sys.executable, "-c", BAR, NO_COLOR="1")
    assert "match" in bar.stderr and not COLOUR.search(bar.stderr)


@pytest.mark.parametrize("arguments", [["config", "show"], ["config", "defaults"], ["completion", "bash"], ["version"]])
def test_a_reader_that_has_gone_ends_a_command_quietly(arguments: list[str]) -> None:
    process = start(*arguments)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    told = process.stderr.read()
    process.stderr.close()
    assert (process.wait(timeout=60), told) == (0, "")


def interrupted(process: "subprocess.Popen[str]", first: str) -> tuple[str, str]:
    """Send Ctrl-C once stderr holds `first`; stdout and what came on stderr afterwards."""
    assert process.stderr is not None
    seen = ""
    while first not in seen:
        line = process.stderr.readline()
        assert line, f"ended without {first!r}: {seen}"
        seen += line
    process.send_signal(signal.SIGINT)
    return process.communicate(timeout=60)


def test_ctrl_c_says_how_a_replay_goes_on(tmp_path: Path) -> None:
    with answering(202, {"accepted": 1, "rejected": []}) as node:
        sending = start(*replay(node, "--checkpoint", "noted"), cwd=tmp_path)
        out, told = interrupted(sending, "m: ")
    assert sending.returncode == 130
    assert out == "" and "Traceback" not in told
    assert "the same command goes on" in told
    assert json.loads((tmp_path / "noted").read_text())["acknowledged"] > 0


def test_ctrl_c_ends_a_follower_quietly() -> None:
    with nothing() as address:
        tail = start("events", "tail", "scores", "--node", address, "--token", "t")
        out, told = interrupted(tail, "trying again")
    assert tail.returncode == 130
    assert out == "" and "Traceback" not in told


def test_ctrl_c_while_services_start_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "node"
    serve = start("serve", "--data-dir", str(folder), EVENTHUB_KAFKA__BOOTSTRAP_SERVERS="127.0.0.1:1")
    deadline = time.monotonic() + 60
    while not (folder / "run" / "postgres.json").exists():
        assert time.monotonic() < deadline and serve.poll() is None
        time.sleep(0.01)
    serve.send_signal(signal.SIGINT)
    _, told = serve.communicate(timeout=60)
    assert serve.returncode in (130, 69)
    assert "Traceback" not in told
    # What watches a server looks every 2 s whether it is still there.
    deadline = time.monotonic() + 10
    while (left := _working_in(folder)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


def _working_in(folder: Path) -> dict[int, str]:
    """Processes whose command line names the folder: what it is, by pid."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes().decode(errors="replace").replace("\0", " ")
        except OSError:
            continue
        if str(folder) in command and str(os.getpid()) != entry.parent.name:
            found[int(entry.parent.name)] = command
    return found
