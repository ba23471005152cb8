"""The matches of the seeds, generated once."""

import pytest

from eventhub import demo
from tests.demo.told import SEEDS, SOME, Told, read


@pytest.fixture(scope="session", params=SEEDS)
def told(request: pytest.FixtureRequest) -> Told:
    return read(demo.generate(request.param))


@pytest.fixture(scope="session")
def several() -> list[Told]:
    return [read(demo.generate(seed)) for seed in SOME]
