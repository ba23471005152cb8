"""`status`: what a node's admin port tells about it, for people."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from eventhub.cli.console import ConfigFile, DataDir, data, data_json, printable, reachable, say, settings
from eventhub.errors import UnavailableError, UsageError

if TYPE_CHECKING:
    from eventhub.config import Settings

TIMEOUT_S = 3
FIRST = ("node", "ready", "mode")
Shown = Mapping[str, Any]


def status(
    *,
    admin: Annotated[str | None, Parameter(help="The admin port's address; the local node's by default.")] = None,
    json: bool = False,
    data_dir: DataDir = None,
    config: ConfigFile = None,
) -> None:
    """Show a node: whether it is ready, and which partitions it works on.

    Without --admin: the first that answers of the ports that `serve` would have taken.

    Parameters
    ----------
    json
        Print the node's answer as JSON, with the address that gave it.
    """
    addresses = [_url(admin)] if admin else candidates(settings(data_dir, config))
    address, answer = ask(addresses)
    if json:
        data_json({"admin": address, **answer})
        return
    if len(addresses) > 1:
        say(f"{address} answered; --admin asks another node")
    for line in lines(answer):
        data(line)


def candidates(chosen: "Settings") -> list[str]:
    """Where a node with these settings may have its admin port, in the order in which `serve` tries."""
    from eventhub.server import NEXT_PORTS

    host, port = chosen.admin.host, chosen.admin.port
    if port == 0:
        raise UsageError("admin.port is 0, so each node took any free port: name it by --admin")
    count = 1 if "port" in chosen.admin.model_fields_set else NEXT_PORTS
    return [reachable(f"http://{f'[{host}]' if ':' in host else host}:{port + next_}") for next_ in range(count)]


def ask(addresses: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """The first address at which a node answers, and its status. Blocks up to 3 s for each; UnavailableError if none.

    Other programs may listen on these ports: what is no node's status is passed over.
    """
    import httpx2

    reasons = []
    with httpx2.Client(timeout=TIMEOUT_S, trust_env=False) as http:
        for address in addresses:
            try:
                answer = http.get(f"{address}/status")
                told = answer.json()
            except httpx2.InvalidURL as error:
                raise UsageError(f"--admin {address}: {error}") from error
            except httpx2.HTTPError as error:
                reasons.append(str(error).rpartition("] ")[2] or type(error).__name__)
                continue
            except ValueError:
                told = None
            if isinstance(told, dict) and "node" in told:
                return address, told
            reasons.append(f"what answers there ({answer.status_code}) is no node's admin port")
    where = addresses[0] if len(addresses) == 1 else f"{addresses[0]} and the {len(addresses) - 1} ports after it"
    raise UnavailableError(
        f"no node answers at {where} ({reasons[0]}); start one by `eventhub serve`, or name its admin port by --admin"
    )


def lines(answer: Shown) -> Iterator[str]:
    """A node's status as a person reads it. What this version does not know is shown as it came, indented."""
    known = {key: answer[key] for key in FIRST if key in answer}
    rest = {key: value for key, value in answer.items() if key not in known and key not in ("families", "cluster")}
    yield from _block(known, "")
    families = answer.get("families", {})
    if isinstance(families, dict):
        yield from _block({"families": {name: _family(family) for name, family in families.items()}}, "")
    else:
        rest["families"] = families
    cluster = answer.get("cluster")
    if isinstance(cluster, dict) and isinstance(cluster.get("nodes"), list):
        yield from _block({"cluster": _cluster(cluster)}, "")
    elif cluster is not None:
        rest["cluster"] = cluster
    yield from _block(rest, "")


def ranges(numbers: Sequence[int]) -> str:
    """[0, 1, 2, 5] as "0-2, 5"."""
    runs = [[n for _, n in run] for _, run in groupby(enumerate(sorted(numbers)), key=lambda pair: pair[1] - pair[0])]
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _url(address: str) -> str:
    return (address if "://" in address else f"http://{address}").rstrip("/")


def _family(family: Any) -> Any:
    """A family in one line as long as it is flat: partitions first, then whatever else is told."""
    if isinstance(family, dict) and isinstance(family.get("progress"), dict):
        rest = {key: value for key, value in family.items() if key != "progress"}
        return _family(rest) + _work(_total(family["progress"].values()))
    if not isinstance(family, dict) or any(isinstance(value, dict) for value in family.values()):
        return family
    return ", ".join(f"{key} {_flat(key, value)}" for key, value in family.items())


def _total(reports: Collection[Shown]) -> dict[str, Any]:
    return {
        "lag": sum(report.get("lag") or 0 for report in reports),
        "lag_s": max((report.get("lag_s", 0) for report in reports), default=0),
        "blocked_by": sorted({by for report in reports for by in report.get("blocked_by", ())}),
    }


def _work(family: Shown) -> str:
    """How far a family is behind, and what is wrong with it."""
    told = [f"{family['lag']} behind for {family['lag_s']:g} s"] if family.get("lag") else []
    told += [f"stuck {ranges(family['stuck'])}"] if family.get("stuck") else []
    told += [f"blocked by {', '.join(family['blocked_by'])}"] if family.get("blocked_by") else []
    return "".join(f", {part}" for part in told)


def _cluster(cluster: Shown) -> dict[str, Any]:
    """Each node with its families in a line, then what nobody works on."""
    told: dict[str, Any] = {}
    for node in cluster["nodes"]:
        name = str(node.get("node"))
        while name in told:
            name += "'"
        if node.get("state") != "alive":
            told[name] = f"{node.get('state')} for {node.get('heard_s_ago', 0):g} s"
            continue
        ready = "ready" if node.get("ready") else "not ready"
        lost = [str(cause) for cause in node.get("degraded", ()) if cause != "mode"]
        told[name] = {
            "state": ", ".join([ready, str(node.get("mode")), *(f"without {cause}" for cause in lost)]),
            **{family: f"{ranges(work['partitions']) or 'none'}{_work(work)}" for family, work in _families(node)},
        }
    unowned = cluster.get("unowned")
    if unowned is None:
        return {**told, "unowned": "unknown without Kafka"}
    return {**told, "unowned": {name: ranges(numbers) for name, numbers in unowned.items()} or "none"}


def _families(node: Shown) -> list[tuple[str, Shown]]:
    return [(name, work) for name, work in node.get("families", {}).items() if work.get("partitions") is not None]


def _block(values: Shown, indent: str) -> Iterator[str]:
    width = max((len(key) for key in values), default=0)
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield printable(f"{indent}{key}")
            yield from _block(value, indent + "  ")
        elif isinstance(value, list) and any(isinstance(part, dict) for part in value):
            yield printable(f"{indent}{key}")
            for number, part in enumerate(value, start=1):
                yield from _block({f"{number}": part}, indent + "  ")
        else:
            yield printable(f"{indent}{key:<{width}}  {_flat(key, value)}")


def _flat(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value in ([], {}):
        return "none"
    if isinstance(value, list):
        return ranges(value) if key == "partitions" and _all_int(value) else ", ".join(map(str, value))
    return str(value)


def _all_int(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int) for value in values)
