"""Every SDK against the same faults, played by a scripted node; and with each guarantee taken away, found out."""

from pathlib import Path
from typing import NamedTuple

import pytest

from clients.conformance.scenarios import SCENARIOS, Scenario
from tests.clients.defects import JS_DEFECTS, PYTHON_DEFECTS
from tests.clients.drivers import Defect, conform, found_out, in_page, python_driver, python_with
from tests.support.browser import browser


class Found(NamedTuple):
    """What is wrong with an SDK, by scenario, and what the scenario of each defect says of it."""

    scenarios: dict[str, list[str]]
    defects: dict[str, list[str]]


def _found(scenarios: list[list[str]], defects: list[list[str]], planted: tuple[Defect, ...]) -> Found:
    by_name = zip((one.name for one in SCENARIOS), scenarios, strict=True)
    return Found(dict(by_name), dict(zip((one.name for one in planted), defects, strict=True)))


@pytest.fixture(scope="module")
async def python(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """One process for all scenarios, and one for each defect."""
    folder = tmp_path_factory.mktemp("defects")

    def defective(defect: Defect) -> Path:
        return folder / str(PYTHON_DEFECTS.index(defect))

    found = await conform(python_driver(), SCENARIOS)
    return _found(found, await found_out(PYTHON_DEFECTS, lambda one: python_with(one, defective(one))), PYTHON_DEFECTS)


@pytest.fixture(scope="module")
async def js() -> Found:
    """Everything in one page."""
    async with browser() as chromium:
        return _found(*await in_page(chromium, SCENARIOS, JS_DEFECTS), JS_DEFECTS)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_python(scenario: Scenario, python: Found) -> None:
    assert python.scenarios[scenario.name] == []


@pytest.mark.parametrize("defect", PYTHON_DEFECTS, ids=lambda d: d.name)
def test_python_is_found_out(defect: Defect, python: Found) -> None:
    assert python.defects[defect.name] != []


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_js(scenario: Scenario, js: Found) -> None:
    assert js.scenarios[scenario.name] == []


@pytest.mark.parametrize("defect", JS_DEFECTS, ids=lambda d: d.name)
def test_js_is_found_out(defect: Defect, js: Found) -> None:
    assert js.defects[defect.name] != []


def test_both_sdks_keep_the_same_guarantees() -> None:
    assert [(d.name, d.scenario) for d in JS_DEFECTS] == [(d.name, d.scenario) for d in PYTHON_DEFECTS]
    assert {d.scenario for d in JS_DEFECTS} == {s.name for s in SCENARIOS}
