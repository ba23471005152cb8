"""The benchmark of the path runs from end to end, loses nothing, and prints what it promises; no figure is judged."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.feed import real_matches

TIMEOUT_S = 110


@pytest.fixture(scope="module")
def result() -> Any:
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.pipeline", "--quick", "--json"],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    # More than one object, or anything else beside it, is not JSON.
    return json.loads(ended.stdout)


def test_it_counts_every_record_of_the_six_matches_in_its_one_run(result: Any) -> None:
    assert result["throughput"]["events"] == sum(len(m.feed.records) for m in real_matches())
    assert result["latency"]["events"] == 4000
    (run,) = result["throughput"]["runs"]
    assert run == {key: result["throughput"][key] for key in ("accept_per_s", "postgres_per_s", "socket_per_s")}


def test_it_has_every_key_that_is_promised_and_every_figure_is_a_positive_number(result: Any) -> None:
    figures = {
        "throughput": {"events", "runs", "accept_per_s", "postgres_per_s", "socket_per_s"},
        "latency": {"events", "rate", "p50_ms", "p99_ms", "ack_p50_ms", "ack_p99_ms"},
        "cpu_us_per_event": {"node", "kafka", "postgres", "steps"},
        "bare": {"produce_per_s", "consume_per_s", "copy_per_s", "chain_per_s", "path_per_s"},
        "machine": {"cores", "python", "date"},
    }
    assert set(result) == {*figures, "ratio", "path_ratio"}
    for name, keys in figures.items():
        assert set(result[name]) == keys, name
    assert set(result["cpu_us_per_event"]["steps"]) == {"accept", "enrich", "row", "fold", "hub"}
    for name, value in [
        *result["latency"].items(),
        *result["bare"].items(),
        *result["throughput"]["runs"][0].items(),
        *result["cpu_us_per_event"]["steps"].items(),
        *((name, result["cpu_us_per_event"][name]) for name in ("node", "kafka", "postgres")),
        ("ratio", result["ratio"]),
    ]:
        assert value > 0, name


def test_the_chain_is_the_three_costs_of_one_event_one_after_another(result: Any) -> None:
    bare = result["bare"]
    costs = sum(1 / bare[name] for name in ("produce_per_s", "consume_per_s", "copy_per_s"))
    assert bare["chain_per_s"] == pytest.approx(1 / costs, rel=0.01)
    throughput = result["throughput"]
    slower = min(throughput["postgres_per_s"], throughput["socket_per_s"])
    assert result["ratio"] == pytest.approx(slower / bare["chain_per_s"], rel=0.01)
