"""The shape of the house: imports point down only, importing is light, rooms stay small."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {"sikff": "sikff", "sikff.calculators": "calculators", "sikff.training": "training"}

# A module may import from its own floor and from those below it.
FLOORS = {
    "sikff.atomic_write": 0,
    "sikff.graph": 0,
    "sikff.groups": 1,
    "sikff.e3nn": 1,
    "sikff.fields": 2,
    "sikff.nn": 3,
    "sikff.forcefield": 4,
    "sikff": 4,  # the front page, re-exporting from the floors below it
    "sikff.engines": 5,
    "sikff.calculators": 6,
    "sikff.training": 7,
}
HEAVY = ("lightning", "pytorch_lightning", "matplotlib", "e3nn", "scipy", "sikff.training")
MOST_LINES = 500


def module_paths() -> dict[str, Path]:
    """Every module of the package by its import name."""
    modules = {}
    for package, folder in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            name = ".".join((package, *parts)).removesuffix(".__init__")
            modules[name] = path
    return modules


MODULES = module_paths()


def room(name: str) -> str:
    """The floor-plan entry of a module: "sikff.nn.linear" -> "sikff.nn"."""
    return ".".join(name.split(".")[:2])


def imports(name: str, path: Path) -> Iterator[tuple[int, str]]:
    """(line, module of ours) for every import in a file, also those inside functions."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level]
            source = node.module or ""
            if node.level:
                source = ".".join(filter(None, (*above, source)))
            full = [f"{source}.{alias.name}" for alias in node.names]
            targets = [each if each in MODULES else source for each in full]
        else:
            continue
        yield from ((node.lineno, each) for each in targets if each.split(".")[0] == "sikff")


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_down(name: str) -> None:
    assert room(name) in FLOORS, f"{name} has no floor: give {room(name)} its place in FLOORS"
    climbs = [
        f"{MODULES[name].relative_to(ROOT)}:{line} imports {target}"
        for line, target in imports(name, MODULES[name])
        if FLOORS.get(room(target), len(FLOORS)) > FLOORS[room(name)]
    ]
    assert not climbs, "imports must point down: " + "; ".join(climbs)


def test_a_climbing_import_is_seen(tmp_path: Path) -> None:
    """The reader of imports knows every way of writing one."""
    path = tmp_path / "linear.py"
    path.write_text(
        "import torch, sikff.training.fitting.fit\n"
        "from sikff.calculators import ase\n"
        "from sikff import graph, load\n"
        "from ..forcefield.energy import EnergyModel\n"
        "from . import kernel\n"
        "def late():\n    from ..fields import FieldType\n"
    )
    found = {room(target) for _, target in imports("sikff.nn.linear", path)}
    assert found == {
        "sikff.training",
        "sikff.calculators",
        "sikff.graph",
        "sikff",
        "sikff.forcefield",
        "sikff.nn",
        "sikff.fields",
    }


@pytest.mark.parametrize("name", ["sikff", "sikff.calculators", "sikff.training.cli"])
def test_import_is_light(name: str) -> None:
    """What a user does not ask for is not loaded: looked at in a fresh interpreter."""
    code = f"import sys, {name}; print('\\n'.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    loaded = set(run.stdout.split())
    heavy = [each for each in HEAVY if each in loaded and not name.startswith(each)]
    assert not heavy, f"`import {name}` loads {', '.join(heavy)}"
    assert not run.stderr, f"`import {name}` writes to stderr: {run.stderr}"


def test_every_package_is_installed() -> None:
    """setuptools takes the packages as listed: a folder left out would be missing from a wheel."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    assert set(project["tool"]["setuptools"]["packages"]) == found


@pytest.mark.parametrize("folder", [*FOLDERS.values(), "tests", "examples"])
def test_rooms_stay_small(folder: str) -> None:
    lengths = {
        path.relative_to(ROOT): len(path.read_text(encoding="utf-8").splitlines())
        for path in (ROOT / folder).rglob("*.py")
    }
    assert lengths, f"{folder}/ holds no Python file"
    long = [f"{path} ({lines})" for path, lines in lengths.items() if lines > MOST_LINES]
    assert not long, f"past {MOST_LINES} lines, so probably two things: {', '.join(long)}"
