"""The benchmarks run from end to end, lose nothing, and print what they promise; no figure is judged."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from websockets.frames import Frame
from websockets.protocol import CLIENT, Protocol

from benchmarks import feeding, growth, latency, stages
from benchmarks.fanout import __main__ as fanout
from benchmarks.fanout import chart, raw
from benchmarks.fanout.loads import LOADS, Load
from benchmarks.hops import Late
from tests.support.feed import real_matches

TIMEOUT_S = 300
LEGS = {"to_raw_ms", "to_log_ms", "to_frame_ms"}
pytestmark = pytest.mark.timeout(2 * TIMEOUT_S)


def run(name: str, *arguments: str) -> Any:
    ended = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--quick", "--json", *arguments],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    # More than one object, or anything else beside it, is not JSON.
    return json.loads(ended.stdout)


@pytest.fixture(scope="module")
def result() -> Any:
    return run("pipeline")


def test_it_counts_every_record_of_the_six_matches_in_its_one_run(result: Any) -> None:
    assert result["throughput"]["events"] == sum(len(m.feed.records) for m in real_matches())
    assert result["latency"]["events"] == 2000
    (only,) = result["throughput"]["runs"]
    assert only == {key: result["throughput"][key] for key in ("accept_per_s", "postgres_per_s", "socket_per_s")}


def test_it_has_every_key_that_is_promised_and_every_figure_is_a_positive_number(result: Any) -> None:
    figures = {
        "throughput": {"events", "runs", "accept_per_s", "postgres_per_s", "socket_per_s"},
        "latency": {"events", "windows", "rate", "p50_ms", "p99_ms", "worst_p99_ms", "ack_p50_ms", "ack_p99_ms"}
        | LEGS
        | {"one_hop_p50_ms", "one_hop_p99_ms", "two_hops_p50_ms", "two_hops_p99_ms", "median_ratio", "two_hops_ratio"},
        "cpu_us_per_event": {"node", "kafka", "postgres", "steps"},
        "bare": {"produce_per_s", "consume_per_s", "copy_per_s", "chain_per_s", "path_per_s"},
        "machine": {"brokers", "cores", "python", "date"},
    }
    assert set(result) == {*figures, "ratio", "path_ratio"}
    for name, keys in figures.items():
        assert set(result[name]) == keys, name
    assert set(result["cpu_us_per_event"]["steps"]) == {"accept", "enrich", "row", "fold", "hub"}
    # Kafka's append times are whole milliseconds, so a leg of less may be 0, or a little below.
    assert min(result["latency"][leg] for leg in LEGS) > -1
    for name, value in [
        *((name, value) for name, value in result["latency"].items() if name not in LEGS),
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


def test_stages_are_each_measured_beside_their_bare_client() -> None:
    found = run("stages", "--only", "accept", "tail")
    assert set(found["stages"]) == {"accept", "tail"}
    for name, figures in found["stages"].items():
        assert figures["product_us"] > 0, name
        assert figures["ratio"] == pytest.approx(figures["product_us"] / figures["bare_us"], rel=0.01), name


def test_growth_runs_the_same_events_at_every_count_of_matches() -> None:
    found = run("growth")
    assert found["events"] == 1000
    assert set(found["matches"]) == {"1", "10"}
    for count, figures in found["matches"].items():
        assert figures["cpu_us"] > 0, count
        assert figures["p99_ms"] >= figures["p50_ms"] > 0, count


def test_overload_loses_nothing_critical_and_bulk_goes_on() -> None:
    found = run("overload")
    (pair,) = found["pairs"]
    assert found["capacity_per_s"] > 0
    assert found["critical"] == pair["alone"]["critical"] + pair["loaded"]["critical"] > 0
    flood = pair["loaded"]["flood"]
    assert flood["offered"] >= flood["accepted"] + flood["refused"] + flood["unsent"] > flood["accepted"] > 0
    assert flood["came"] >= flood["meanwhile"] > 0
    assert pair["ratio"] == pytest.approx(pair["loaded"]["p99_ms"] / pair["alone"]["p99_ms"], rel=0.01)


def test_a_ratio_is_the_median_of_rounds_and_not_the_ratio_of_medians() -> None:
    rows = [stages.Round(10, 10), stages.Round(20, 5), stages.Round(30, 20)]
    assert stages.summary(rows) == {"product_us": 20, "bare_us": 10, "ratio": 1.5}


def test_latency_compares_each_window_with_the_bare_one_of_its_own_time() -> None:
    def window(p50_ms: float) -> latency.Window:
        return latency.Window(1000, 999.6, p50_ms, 2 * p50_ms, 5, 9, 1, 2, 3)

    found = latency.summary(
        [
            (window(10), Late(5, 8), Late(8, 12)),
            (window(90), Late(60, 99), Late(45, 99)),
            (window(20), Late(10, 16), Late(20, 30)),
        ]
    )
    assert (found["events"], found["rate"], found["p50_ms"], found["p99_ms"]) == (3000, 1000, 20, 40)
    assert (found["worst_p99_ms"], found["one_hop_p50_ms"], found["two_hops_p50_ms"]) == (180, 10, 20)
    assert (found["median_ratio"], found["two_hops_ratio"]) == (2, 1.25)


def test_what_the_node_uses_idle_is_not_counted_as_an_events_own() -> None:
    # At 1,000 events/s a twentieth of a core is 50 µs of every event's millisecond.
    assert growth.Cost(cpu_us=120, idle=0.05, p50_ms=1, p99_ms=2).own_us == pytest.approx(70)


def test_a_match_that_is_too_short_begins_again_under_other_ids() -> None:
    match = real_matches()[0]
    bodies = growth.spread("m", match, 2 * len(match.feed.records) // growth.BODY * growth.BODY)
    ids = [json.loads(line)["id"] for _, body in bodies for line in body.split(b"\n")]
    assert len(ids) > len(match.feed.records)
    assert len(set(ids)) == len(ids)


def test_every_point_of_growth_divides_its_events_among_its_matches() -> None:
    for size in (growth.FULL, growth.QUICK):
        for count in (*size.matches, *([growth.MATCHES_AT] if size.partitions else [])):
            assert size.events % (count * growth.BODY) == 0, count


def test_matches_of_the_same_hour_take_turns() -> None:
    a, b = [("a", b"1"), ("a", b"2"), ("a", b"3")], [("b", b"1")]
    assert feeding.in_turn([a, b]) == [("a", b"1"), ("b", b"1"), ("a", b"2"), ("a", b"3")]


def test_an_id_that_comes_twice_or_not_at_all_fails_the_run() -> None:
    feeding.same(["a", "b"], ["b", "a"], "here")
    with pytest.raises(AssertionError, match="1 missing, 1 too many"):
        feeding.same(["a", "b"], ["a", "a"], "here")


def test_fan_out_compares_with_the_product_of_the_same_round() -> None:
    def ran(us: float) -> dict[str, float]:
        return dict.fromkeys(fanout.FIGURES, 0.0) | {"us_per_delivery": us, "p99_ms": us * 10}

    found = {"eventhub": [ran(1), ran(4), ran(2)], "centrifuge": [ran(3), ran(8), ran(8)]}
    row = fanout._row("centrifuge", "G1", LOADS["G1"], found)
    assert (row["name"], row["load"], row["sockets"], row["rate"]) == ("centrifuge", "G1", 1000, 500)
    assert (row["us_per_delivery"], row["p99_ms"], row["times_eventhub"]) == (8, 80, 3)


def test_a_peer_without_views_is_not_asked_for_them() -> None:
    assert fanout._can("eventhub", LOADS["channels"])
    assert not fanout._can("raw-write", LOADS["channels"])
    assert fanout._can("raw-write", Load(10, 10))


@pytest.mark.parametrize("size", [126, 65_535, 65_536])
def test_the_limits_frames_are_frames(size: int) -> None:
    parser = Protocol(CLIENT, max_size=None)
    parser.receive_data(raw.frame(b"x" * size))
    [frame] = parser.events_received()
    assert isinstance(frame, Frame) and frame.data == b"x" * size


def test_a_chart_shows_every_run_and_says_where_a_bar_is_cut() -> None:
    rows = [
        {"name": name, "load": "G1", "sockets": 1000, "rate": 500, "us_per_delivery": us, "p99_ms": 10.0}
        for name, us in (("eventhub", 1.0), ("raw-write", 2.0), ("centrifuge", 99.0))
    ]
    drawn = ElementTree.fromstring(chart.svg([*rows, {**rows[0], "load": "G5", "us_per_delivery": 0}], "a & b"))
    words = [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {"a & b", "eventhub", "raw-write", "centrifuge", "99.00 (cut)", "1.00"} <= set(words)
    assert not any("G5" in str(word) for word in words)
    bars = [int(one.attrib["width"]) for one in drawn.iter("{http://www.w3.org/2000/svg}rect")][1:]
    assert bars[2] == 2 * bars[0]
