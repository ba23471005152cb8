"""The Python client stands alone: a wheel of its own that needs `websockets` and nothing of the platform."""

import json
import re
import subprocess
import sys
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

import eventhub_client
from tests.clients.drivers import CLIENTS, JS, PYTHON

ALONE = (
    "import sys\n"
    "class NotHere:\n"
    "    def find_spec(self, name, *_):\n"
    "        if name.partition('.')[0] == 'eventhub': raise ImportError(name)\n"
    "sys.meta_path.insert(0, NotHere())\n"
    "import eventhub_client\n"
    "outside = {n.partition('.')[0] for n in sys.modules} - set(sys.stdlib_module_names) - {'__main__'}\n"
    "print(eventhub_client.__file__, *sorted(outside - BEFORE))"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as a wheel, built as pip would."""
    folder = tmp_path_factory.mktemp("wheel")
    build = f"import hatchling.build; print(hatchling.build.build_wheel({str(folder)!r}))"
    built = subprocess.run([sys.executable, "-c", build], cwd=PYTHON, capture_output=True, text=True, timeout=60)
    assert built.returncode == 0, built.stderr
    return folder / built.stdout.split()[-1]


def test_its_wheel_needs_websockets_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        [metadata] = [archive.read(n).decode() for n in names if n.endswith("METADATA")]
    told = message_from_string(metadata)
    assert (told["Name"], told["Version"]) == ("eventhub-client", eventhub_client.__version__)
    assert told.get_all("Requires-Dist") == ["websockets>=15"]
    assert told["Requires-Python"] == ">=3.11"
    assert {n.partition("/")[0] for n in names if ".dist-info" not in n} == {"eventhub_client"}
    assert "eventhub_client/py.typed" in names


def test_it_can_be_imported_where_the_platform_cannot(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    before = "BEFORE = {n.partition('.')[0] for n in __import__('sys').modules}\n"
    ran = subprocess.run(
        [sys.executable, "-c", before + ALONE],
        env={"PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    where, *outside = ran.stdout.split()
    assert Path(where).is_relative_to(tmp_path)
    assert set(outside) <= {"eventhub_client", "websockets"}


def built(what: str, folder: Path) -> zipfile.ZipFile:
    """The platform's own wheel; `what` is the hook of the build."""
    build = f"import hatchling.build; print(hatchling.build.{what}({str(folder)!r}))"
    ran = subprocess.run([sys.executable, "-c", build], cwd=CLIENTS.parent, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return zipfile.ZipFile(folder / ran.stdout.split()[-1])


def test_the_platform_stays_one_deployable_and_brings_its_clients_along(tmp_path: Path) -> None:
    with built("build_wheel", tmp_path) as archive:
        assert archive.read("eventhub/page/eventhub.js") == JS.read_bytes()
        inside = {n.rpartition("/")[2] for n in archive.namelist() if n.startswith("eventhub_client/")}
    assert inside == {p.name for p in (PYTHON / "eventhub_client").iterdir() if p.is_file()}


def test_a_development_install_finds_both_packages(tmp_path: Path) -> None:
    with built("build_editable", tmp_path) as archive:
        [paths] = [archive.read(n).decode().split() for n in archive.namelist() if n.endswith(".pth")]
    assert {str(CLIENTS.parent), str(PYTHON)} <= set(paths)


def test_the_javascript_module_imports_nothing_and_stands_alone() -> None:
    text = JS.read_text()
    assert not re.search(r"^\s*import\b|\bimport\s*\(|\brequire\s*\(|^export .* from ", text, re.MULTILINE)
    told = json.loads((JS.parent / "package.json").read_text())
    assert not {"dependencies", "peerDependencies", "scripts", "devDependencies"} & set(told)
    assert (told["type"], told["version"]) == ("module", eventhub_client.__version__)
    for name in told["files"]:
        assert (JS.parent / name).is_file(), name
    types = (JS.parent / "eventhub.d.ts").read_text()
    assert set(re.findall(r"^export (?:class|const) (\w+)", text, re.MULTILINE)) == set(
        re.findall(r"^export (?:class|const) (\w+)", types, re.MULTILINE)
    )


def test_every_file_is_short_and_says_what_it_is_for() -> None:
    for path in [*PYTHON.rglob("*.py"), *(CLIENTS / "conformance").rglob("*.py")]:
        text = path.read_text()
        assert text.count("\n") <= 350, path
        assert text.startswith('"""'), path
