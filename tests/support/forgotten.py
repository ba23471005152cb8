"""What a broker still knows of producers: of their transactional ids, and of those that wrote to a partition.

aiokafka 0.14 cannot ask, so both requests are spelled out (DescribeProducers 61, DescribeTransactions 65; Kafka's
protocol guide).
"""

from typing import Any

from aiokafka import TopicPartition
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import CompactArray, CompactString, Int16, Int32, Int64, Schema, TaggedFields

from eventhub.kafka import Kafka
from eventhub.kafka.describe import connected

NOT_FOUND = 105
_Text, _Tags = CompactString("utf-8"), ("tags", TaggedFields)


class _Transactions(Response):  # type: ignore[misc]
    API_KEY, API_VERSION = 65, 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "states",
            CompactArray(
                ("error", Int16),
                ("id", _Text),
                ("state", _Text),
                ("timeout_ms", Int32),
                ("began_ms", Int64),
                ("producer_id", Int64),
                ("epoch", Int16),
                ("topics", CompactArray(("topic", _Text), ("partitions", CompactArray(Int32)), _Tags)),
                _Tags,
            ),
        ),
        _Tags,
    )


class _AskTransactions(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION, API_KEY, API_VERSION, RESPONSE_TYPE = True, 65, 0, _Transactions
    SCHEMA = Schema(("ids", CompactArray(_Text)), _Tags)


class _Producers(Response):  # type: ignore[misc]
    API_KEY, API_VERSION = 61, 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("topic", _Text),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("error", Int16),
                        ("message", _Text),
                        (
                            "producers",
                            CompactArray(
                                ("id", Int64),
                                ("epoch", Int32),
                                ("last_sequence", Int32),
                                ("last_ms", Int64),
                                ("coordinator_epoch", Int32),
                                ("transaction_start", Int64),
                                _Tags,
                            ),
                        ),
                        _Tags,
                    ),
                ),
                _Tags,
            ),
        ),
        _Tags,
    )


class _AskProducers(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION, API_KEY, API_VERSION, RESPONSE_TYPE = True, 61, 0, _Producers
    SCHEMA = Schema(("topics", CompactArray(("topic", _Text), ("partitions", CompactArray(Int32)), _Tags)), _Tags)


class _Ask(Request[_AskProducers]):  # type: ignore[misc]
    def __init__(self, kind: Any, *fields: Any) -> None:
        self._kind, self._fields = kind, fields

    API_KEY = 61

    def prepare(self, versions: Any) -> Any:
        return self._kind(*self._fields, {})

    def build(self, request_struct_class: Any) -> Any:
        return request_struct_class(*self._fields, {})


async def knows(cluster: Kafka, transactional_id: str) -> bool:
    """Whether the (one) broker still knows this transactional id."""
    async with connected(cluster) as admin:
        answer = await admin._send_request(_Ask(_AskTransactions, [transactional_id]))
        error = answer.states[0][0]
        assert error in (0, NOT_FOUND), f"DescribeTransactions answered {error}"
        return bool(error == 0)


async def producers(cluster: Kafka, topic: str, partition: int) -> dict[int, int]:
    """Of each producer that this partition's leader still knows: the newest epoch by its id."""
    async with connected(cluster) as admin:
        admin._client.cluster.update_metadata(await admin._get_cluster_metadata())
        leader = admin._client.cluster.leader_for_partition(TopicPartition(topic, partition))
        answer = await admin._send_request(_Ask(_AskProducers, [(topic, [partition], {})]), leader)
        ((_, error, _, found, _),) = answer.topics[0][1]
        assert error == 0, f"DescribeProducers answered {error}"
        return {one[0]: one[1] for one in found}
