"""Kafka's own ids of topics: they tell a topic from one that was deleted and made again under the same name.

aiokafka 0.14 asks for metadata in versions that have no ids, so the request is spelled out here (Metadata v10, Kafka's
protocol guide; brokers have it since 2.8).
"""

from io import BytesIO
from typing import Any

from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from eventhub import topics

NONE = bytes(16)
KEY, VERSION = 3, 10
_Text = CompactString("utf-8")


class _Uuid(AbstractType):  # type: ignore[misc]
    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(16)


class _Answer(Response):  # type: ignore[misc]
    API_KEY, API_VERSION = KEY, VERSION
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(("id", Int32), ("host", _Text), ("port", Int32), ("rack", _Text), ("tags", TaggedFields)),
        ),
        ("cluster_id", _Text),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", _Text),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("allowed", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_allowed", Int32),
        ("tags", TaggedFields),
    )


class _Question(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY, API_VERSION, RESPONSE_TYPE = KEY, VERSION, _Answer
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("name", _Text), ("tags", TaggedFields))),
        ("create", Boolean),
        ("with_cluster_allowed", Boolean),
        ("with_allowed", Boolean),
        ("tags", TaggedFields),
    )


class _Metadata(Request[_Question]):  # type: ignore[misc]
    API_KEY = KEY

    def build(self, request_struct_class: Any) -> Any:
        return request_struct_class([(NONE, name, {}) for name in topics.TOPICS], False, False, False, {})


async def topic_ids(client: Any) -> dict[str, str]:
    """The id (32 hex digits) of each topic of eventhub that is there, asked of one broker of this client.

    Raises KafkaError. Empty where the brokers are too old to have ids.
    """
    try:
        answer = await client.send(client.get_random_node(), _Metadata())
    except NotImplementedError:
        return {}
    return {name: id_.hex() for error, name, id_, *_ in answer.topics if error == 0 and id_ != NONE}
