"""What `serve` says when it serves and when it has ended."""

from pathlib import Path

from pydantic import SecretStr

from eventhub import __version__
from eventhub.cli.console import reachable
from eventhub.cli.node import farewell, greeting
from eventhub.config import Kafka, Postgres, Settings

OWN = Settings(data_dir=Path("/data/hub"))
GIVEN = Settings(
    kafka=Kafka(bootstrap_servers="k:9092"), postgres=Postgres(dsn=SecretStr("postgresql://a:hunter2@db/x"))
)
URLS = ("http://127.0.0.1:8001", "http://127.0.0.1:9001")


def test_a_node_says_who_it_is_where_its_ports_and_its_page_are_and_how_to_stop_it() -> None:
    told = greeting(OWN, "alpha-0", *URLS)
    assert told[0] == f"eventhub {__version__}, node alpha-0, profile development"
    text = "\n".join(told)
    assert "live page  http://127.0.0.1:8001/\n" in text
    assert "http://127.0.0.1:9001/status" in text
    assert "Ctrl-C stops this node" in text


def test_what_stays_after_the_end_is_said_before_it() -> None:
    assert (
        "The last node of /data/hub also stops Kafka, PostgreSQL and Valkey; all data stays there."
        in greeting(OWN, "a", *URLS)[-1]
    )
    assert "are not its own and stay as they are" in greeting(GIVEN, "a", *URLS)[-1]
    mixed = Settings(data_dir=Path("/d"), kafka=Kafka(bootstrap_servers="k:9092"))
    assert "also stops PostgreSQL and Valkey;" in greeting(mixed, "a", *URLS)[-1]


def test_a_node_on_every_address_is_named_by_one_that_a_browser_takes() -> None:
    text = "\n".join(greeting(OWN, "a", "http://0.0.0.0:8000", URLS[1]))
    assert "live page  http://127.0.0.1:8000/" in text
    assert "on every address of this machine" in text
    assert "on every address" not in "\n".join(greeting(OWN, "a", *URLS))
    assert reachable("http://[::]:8000") == "http://[::1]:8000"
    assert reachable("http://10.0.0.0:8000") == "http://10.0.0.0:8000"


def test_no_sentence_holds_a_secret() -> None:
    assert "hunter2" not in "\n".join([*greeting(GIVEN, "a", *URLS), *farewell(GIVEN, [])])


def test_the_end_tells_what_runs_on_and_what_is_kept() -> None:
    assert farewell(OWN, ["Kafka", "PostgreSQL"]) == [
        "stopped; Kafka and PostgreSQL run on for the other nodes of /data/hub"
    ]
    assert farewell(OWN, []) == ["stopped; everything is kept in /data/hub, and `eventhub serve` goes on from there"]
    assert farewell(GIVEN, []) == ["stopped"]
