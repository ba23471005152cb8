"""Every SDK against the same faults, played by a scripted node; and with each guarantee taken away, found out."""

from typing import NamedTuple

import pytest

from clients.conformance.scenarios import SCENARIOS, Scenario
from tests.clients.defects import JS_DEFECTS, PYTHON_DEFECTS
from tests.clients.drivers import Defect, conform, found_out, js_driver, js_files, python_driver, python_with
from tests.support.browser import browser


@pytest.fixture(scope="module")
async def python_found() -> dict[str, list[str]]:
    """What is wrong with the Python SDK, by scenario."""
    return await conform(python_driver(), SCENARIOS)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_python(scenario: Scenario, python_found: dict[str, list[str]]) -> None:
    assert python_found[scenario.name] == []


@pytest.fixture(scope="module")
async def python_defects_found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What the scenario of each defect says of it."""
    folder = tmp_path_factory.mktemp("defects")
    return await found_out(PYTHON_DEFECTS, lambda one: python_with(one, folder / str(PYTHON_DEFECTS.index(one))))


@pytest.mark.parametrize("defect", PYTHON_DEFECTS, ids=lambda d: d.name)
def test_python_is_found_out(defect: Defect, python_defects_found: dict[str, list[str]]) -> None:
    assert python_defects_found[defect.name] != []


class Js(NamedTuple):
    """What is wrong with the JavaScript SDK, by scenario, and what the scenario of each defect says of it."""

    found: dict[str, list[str]]
    defects: dict[str, list[str]]


@pytest.fixture(scope="module")
async def js() -> Js:
    """Everything in one browser."""
    async with browser() as chromium:
        drive = js_driver(chromium)
        found = await conform(drive, SCENARIOS, files=js_files())
        return Js(found, await found_out(JS_DEFECTS, lambda _: drive, js_files))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_js(scenario: Scenario, js: Js) -> None:
    assert js.found[scenario.name] == []


@pytest.mark.parametrize("defect", JS_DEFECTS, ids=lambda d: d.name)
def test_js_is_found_out(defect: Defect, js: Js) -> None:
    assert js.defects[defect.name] != []


def test_both_sdks_keep_the_same_guarantees() -> None:
    assert [(d.name, d.scenario) for d in JS_DEFECTS] == [(d.name, d.scenario) for d in PYTHON_DEFECTS]
    assert {d.scenario for d in JS_DEFECTS} == {s.name for s in SCENARIOS}
