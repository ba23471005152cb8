import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from pydantic import SecretStr

from eventhub import embedded
from eventhub.config import Kafka, Postgres, Redis, Settings
from eventhub.embedded import Services, join, kafka, postgres, valkey
from eventhub.embedded.lease import Lease, Process, Record, alive, is_free, process, stop, wait_for
from eventhub.errors import UnavailableError

Node = subprocess.Popen[str]


def silent(*_: object) -> None:
    pass


def joined(folder: Path) -> Services:
    return join(Settings(data_dir=folder), say=silent, progress=silent)


def pids(services: Services) -> list[int]:
    return [services.pid("kafka"), services.pid("postgres"), services.pid("valkey")]


def known(services: Services) -> list[Process]:
    found = [process(pid) for pid in pids(services)]
    return [one for one in found if one]


def kill(pid: int) -> None:
    gone = process(pid)
    assert gone
    os.kill(pid, signal.SIGKILL)
    assert wait_for(lambda: not alive(gone), 10)


def answer(services: Services) -> bool:
    with psycopg.connect(services.addresses.postgres) as connection:
        row = connection.execute("select 1").fetchone()
    return kafka.answers(int(services.addresses.kafka.rpartition(":")[2])) and row == (1,) and counting(services)


def counting(services: Services) -> bool:
    """Valkey answers at the address that a node is given, with its password."""
    assert services.addresses.redis
    with redis.Redis.from_url(services.addresses.redis, protocol=2) as client:
        return bool(client.ping())


def told_pids(node: Node) -> list[int]:
    assert node.stdout
    return [int(pid) for pid in json.loads(node.stdout.readline())]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """One data folder for these tests: each finds it stopped, and formatted after the first."""
    with tempfile.TemporaryDirectory(prefix="eventhub-join-") as name:
        yield Path(name)


@pytest.fixture(autouse=True)
def nothing_left(folder: Path) -> Iterator[None]:
    """Stops what a failed test left running."""
    yield
    for part in ("kafka", "postgres", "valkey"):
        left = Record.read(folder / "run" / f"{part}.json").process
        if left:
            stop(left, ((signal.SIGKILL, 10.0),))


@pytest.fixture
def node(folder: Path) -> Iterator[Callable[[], Node]]:
    """Starts another process that joins the folder."""
    nodes: list[Node] = []

    def start() -> Node:
        command = [sys.executable, str(Path(__file__).with_name("holder.py")), str(folder)]
        nodes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return nodes[-1]

    yield start
    for one in nodes:
        one.kill()
        one.communicate()


def test_two_nodes_share_the_services_and_the_last_to_leave_stops_them(folder: Path, node: Callable[[], Node]) -> None:
    first = joined(folder)
    running = known(first)
    assert answer(first)
    assert [os.getsid(one.pid) != os.getsid(0) for one in running] == [True, True, True]
    second = node()
    assert told_pids(second) == pids(first)
    first.leave()
    first.leave()
    assert [alive(one) for one in running] == [True, True, True]
    second.communicate()
    assert [alive(one) for one in running] == [False, False, False]
    with pytest.raises(UnavailableError, match="does not run"):
        first.pid("kafka")


def test_nodes_that_join_at_once_start_the_services_once(node: Callable[[], Node]) -> None:
    first, second = node(), node()
    assert told_pids(first) == told_pids(second)


def test_services_outlive_a_killed_node_and_the_next_join_finds_them(folder: Path, node: Callable[[], Node]) -> None:
    killed = node()
    before = told_pids(killed)
    killed.kill()
    killed.wait()
    for record in ("kafka", "postgres", "valkey"):  # as if it had died before it could note what it started
        path = folder / "run" / f"{record}.json"
        Record(Record.read(path).ports).write(path)
    found = joined(folder)
    assert pids(found) == before
    assert answer(found)
    running = known(found)
    found.leave()
    assert [alive(one) for one in running] == [False, False, False]


def test_a_killed_kafka_alone_is_started_again_at_its_address(folder: Path) -> None:
    first = joined(folder)
    broker, server, _ = pids(first)
    kill(broker)
    second = joined(folder)
    assert second.pid("kafka") != broker
    assert second.pid("postgres") == server
    assert second.addresses == first.addresses
    assert answer(second)
    first.leave()
    second.leave()


def test_a_killed_postgres_alone_is_started_again_with_what_it_had_committed(folder: Path) -> None:
    first = joined(folder)
    with psycopg.connect(first.addresses.postgres) as connection:
        connection.execute("create table kept as select 42 as answer")
    broker, server, _ = pids(first)
    kill(server)
    second = joined(folder)
    assert second.pid("kafka") == broker
    assert second.pid("postgres") != server
    with psycopg.connect(second.addresses.postgres) as connection:
        assert connection.execute("select answer from kept").fetchone() == (42,)
    first.leave()
    second.leave()


@contextlib.contextmanager
def occupied(port: int) -> Iterator[None]:
    """Somebody listens on this port; if another program was quicker, that serves as well."""
    with contextlib.ExitStack() as held:
        # What was killed a moment ago may hold it until the system has cleared it away.
        if wait_for(lambda: is_free(port), 10):
            held.enter_context(socket.create_server(("127.0.0.1", port)))
        yield


def test_everything_killed_is_recovered_and_a_port_that_was_taken_is_chosen_anew(folder: Path) -> None:
    first = joined(folder)
    for pid in pids(first):
        kill(pid)
    first.leave()
    taken = int(first.addresses.kafka.rpartition(":")[2])
    with occupied(taken):
        second = joined(folder)
        assert second.addresses.kafka != first.addresses.kafka
        assert second.addresses.postgres == first.addresses.postgres
        assert answer(second)
        second.leave()


def test_given_addresses_are_handed_through_and_nothing_is_started(tmp_path: Path) -> None:
    given = Settings(
        data_dir=tmp_path / "none",
        kafka=Kafka(bootstrap_servers="k:9092"),
        postgres=Postgres(dsn=SecretStr("postgresql://u:hunter2@db/x")),
        redis=Redis(url=SecretStr("redis://:hunter3@r:6379")),
    )
    services = join(given, say=silent, progress=silent)
    assert services.addresses == ("k:9092", "postgresql://u:hunter2@db/x", "redis://:hunter3@r:6379")
    assert "kafka.bootstrap_servers" in services.started[0] and "postgres.dsn" in services.started[1]
    assert services.started[2] == "Redis, given by redis.url."
    alone = join(given.model_copy(update={"redis": Redis()}), say=silent, progress=silent)
    assert alone.addresses.redis is None and "counts its clients alone" in alone.started[2]
    assert "hunter" not in "".join(services.started)
    services.leave()
    assert not (tmp_path / "none").exists()


def test_with_kafka_given_only_the_others_are_started() -> None:
    with tempfile.TemporaryDirectory(prefix="eventhub-join-") as name:
        given = Settings(data_dir=Path(name), kafka=Kafka(bootstrap_servers="k:9092"))
        services = join(given, say=silent, progress=silent)
        assert services.addresses.kafka == "k:9092"
        others = [process(services.pid("postgres")), process(services.pid("valkey"))]
        with pytest.raises(UnavailableError):
            services.pid("kafka")
        assert not (Path(name) / "kafka").exists()
        services.leave()
        assert [alive(one) for one in others] == [False, False]


def test_a_start_that_fails_says_why_and_leaves_nothing_running_or_held(folder: Path) -> None:
    first = joined(folder)
    first.leave()
    configuration = folder / "postgres" / "data" / "postgresql.conf"
    sound = configuration.read_text()
    configuration.write_text(sound + "no_such_parameter = 1\n")
    with pytest.raises(UnavailableError, match=r"PostgreSQL did not start: .*; its log is .*postgres\.log"):
        joined(folder)
    configuration.write_text(sound)
    home = kafka.Home(folder / "kafka", folder / "run" / "kafka.json", folder)
    assert kafka.running(home) is None
    second = joined(folder)
    assert answer(second)
    second.leave()


def test_a_start_that_is_given_up_waits_for_nothing_and_leaves_nothing_running(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in (kafka, postgres):
        monkeypatch.setattr(part, "answers", lambda *_, **__: False)
        monkeypatch.setattr(part, "READY_WAIT_S", 3600)
    started: list[Process] = []

    def both_run() -> bool:
        noted = [Record.read(folder / "run" / f"{part}.json").process for part in ("kafka", "postgres")]
        running = [one for one in noted if one and alive(one)]
        if len(running) == 2:
            started[:] = running
        return bool(started)

    with pytest.raises(UnavailableError, match="did not start"):
        join(Settings(data_dir=folder), say=silent, progress=silent, given_up=both_run)
    assert [alive(one) for one in started] == [False, False]


def test_waiting_for_another_node_that_starts_can_be_given_up(folder: Path) -> None:
    with Lease(folder / "run").exclusive(silent), pytest.raises(UnavailableError, match="another node"):
        join(Settings(data_dir=folder), say=silent, progress=silent, given_up=lambda: True)


def test_a_port_where_something_else_listens_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert not kafka.answers(other.getsockname()[1], wait_s=0.1)


def test_a_pid_file_of_another_program_does_not_keep_postgres_out(folder: Path) -> None:
    joined(folder).leave()
    pid_file = folder / "postgres" / "data" / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n{pid_file.parent}\n")
    home = postgres.Home(folder / "postgres", folder / "run" / "postgres.json", folder / "run" / "postgres.password")
    assert postgres.running(home) is None
    again = joined(folder)
    assert answer(again)
    again.leave()


def beside(folder: Path, say: Callable[[str], None] = silent, **more: Any) -> Services:
    """A share where Kafka is given, which nobody needs here: PostgreSQL and Valkey."""
    given = Settings(data_dir=folder, kafka=Kafka(bootstrap_servers="k:9092"), **more)
    return join(given, say=say, progress=silent)


def test_a_killed_valkey_alone_is_started_again_where_running_nodes_look_for_it(folder: Path) -> None:
    first = beside(folder)
    kill(first.pid("valkey"))
    second = beside(folder)
    assert second.addresses == first.addresses
    assert counting(first)
    first.leave()
    second.leave()


def test_a_valkey_that_does_not_answer_is_replaced(folder: Path) -> None:
    first = beside(folder)
    frozen = process(first.pid("valkey"))
    assert frozen
    os.kill(frozen.pid, signal.SIGSTOP)
    second = beside(folder)
    assert not alive(frozen) and counting(second)
    first.leave()
    second.leave()


def without_valkey(folder: Path) -> None:
    said: list[str] = []
    services = beside(folder, said.append)
    assert services.addresses.redis is None and services.addresses.postgres
    assert any("counts its clients alone" in one and "EVENTHUB_REDIS__URL" in one for one in said)
    with pytest.raises(UnavailableError):
        services.pid("valkey")
    services.leave()


def test_without_valkey_a_node_starts_all_the_same_and_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(valkey, "SETTINGS", valkey.SETTINGS + "no_such_setting 1\n")
    without_valkey(folder)


def test_mutant_a_node_that_does_not_start_without_valkey(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_count", valkey.ensure)
    with pytest.raises(UnavailableError, match=r"Valkey did not start: .*; its log is .*valkey\.log"):
        test_without_valkey_a_node_starts_all_the_same_and_says_so(folder, monkeypatch)


def test_production_starts_no_valkey_of_its_own(folder: Path) -> None:
    services = beside(folder, profile="production")
    assert services.addresses.redis is None
    with pytest.raises(UnavailableError):
        services.pid("valkey")
    services.leave()
