"""The shape of the house: imports point down only, importing is light, rooms stay small."""

import ast
import graphlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {"sikff": "sikff", "sikff.calculators": "calculators", "sikff.training": "training"}

# Rooms by floor: a module may import from its own room and from rooms on lower floors.
FLOORS = {
    "sikff.atomic_write": 0,
    "sikff.plain_torch": 0,
    "sikff.lock": 1,
    "sikff.groups": 1,
    "sikff.e3nn": 2,
    "sikff.surface": 2,
    "sikff.field_types": 3,
    "sikff.graph": 3,
    "sikff.nn": 4,
    "sikff.forcefield": 5,
    "sikff": 6,  # the front page, re-exporting from the floors below it
    "sikff.engines": 6,
    "sikff.calculators": 7,
    "sikff.training.section": 4,
    "sikff.training.slab_settings": 5,
    "sikff.training.loss_settings": 5,
    "sikff.training.read_settings": 6,
    "sikff.training.console": 7,
    "sikff.training.config": 7,
    "sikff.training": 7,
    "sikff.training.data": 8,
    "sikff.training.evaluation": 9,
    "sikff.training.fitting": 10,
    "sikff.training.simulation": 10,
    "sikff.training.properties": 11,
    "sikff.training.symmetry": 11,
    "sikff.training.studies": 12,
    "sikff.training.learn": 13,
    "sikff.training.cli": 14,
    "sikff.training.__main__": 15,
}
# Modules by floor inside some rooms, from the lowest one up.
FLOORS_INSIDE = {
    "sikff.groups": (
        "matrices harmonic_polynomials null_space",
        "names",
        "classify",
        "irreps",
        "group",
        "couplings aliasing",
        "decomposition",
    ),
    "sikff.surface": (
        "lattice operations",
        "names",
        "wallpaper",
        "sites slab stars",
        "layers near_symmetry",
    ),
    "sikff.nn": (
        "constants equivariance neighbour_table spline weight_cache",
        "contraction harmonics linear mlp plane_waves radial",
        "channel_product nonlinearity",
        "gmlp",
        "kernel",
        "dense_conv point_conv restrict_layers",
    ),
    "sikff.forcefield": (
        "energy environment_config free_atoms halo trained_distances zbl",
        "chunks",
        "atomic_stress config edge_features field_response places",
        "environment interaction model_file steerable_attributes",
        "data_end network",
        "electron_shares restrict_model",
        "force_field",
        "change_elements committee corrected_model",
    ),
}
HEAVY = ("matplotlib", "e3nn", "scipy", "sikff.training")
MOST_LINES = {"sikff": 350, "calculators": 350, "training": 350, "tests": 500, "examples": 500}


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
    """The room of a module: "sikff.nn.linear" -> "sikff.nn", "sikff.training.data.labels" ->
    "sikff.training.data"."""
    parts = name.split(".")
    return ".".join(parts[: 3 if parts[:2] == ["sikff", "training"] else 2])


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


def test_imports_point_down() -> None:
    unplaced = sorted({room(name) for name in MODULES} - FLOORS.keys())
    assert not unplaced, f"give {', '.join(unplaced)} a floor in FLOORS"
    climbs = [
        f"{path.relative_to(ROOT)}:{line} imports {target}"
        for name, path in MODULES.items()
        for line, target in imports(name, path)
        if room(target) != room(name)
        and FLOORS.get(room(target), len(FLOORS)) >= FLOORS[room(name)]
    ]
    assert not climbs, "imports must point down: " + "; ".join(climbs)


@pytest.mark.parametrize("name", FLOORS_INSIDE)
def test_imports_point_down_inside_a_room(name: str) -> None:
    floors = {
        f"{name}.{module}": floor
        for floor, modules in enumerate(FLOORS_INSIDE[name])
        for module in modules.split()
    }
    modules = {module for module in MODULES if module.startswith(f"{name}.")}
    assert floors.keys() == modules, "FLOORS_INSIDE must name every module of the room once"
    climbs = [
        f"{MODULES[module].relative_to(ROOT)}:{line} imports {target}"
        for module in modules
        for line, target in imports(module, MODULES[module])
        if target in modules and floors[target] >= floors[module]
    ]
    assert not climbs, "imports must point down: " + "; ".join(climbs)


def test_no_module_imports_a_private_name() -> None:
    """A name with an underscore belongs to its module; what others need gets a public one."""
    private = [
        f"{path.relative_to(ROOT)}:{node.lineno} imports {alias.name}"
        for path in MODULES.values()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.level or str(node.module).startswith("sikff"))
        for alias in node.names
        if alias.name.startswith("_") and not alias.name.startswith("__")
    ]
    assert not private, "; ".join(private)


def test_no_module_imports_itself_through_others() -> None:
    """Also inside a room; imports inside functions count."""
    graph = {
        name: {target for _, target in imports(name, path)} & MODULES.keys() - {name}
        for name, path in MODULES.items()
    }
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_training_and_calculators_import_their_own_modules_relatively() -> None:
    """Their folders are not where their import names say, so tools would not find the files."""
    absolute = [
        str(path.relative_to(ROOT))
        for name, path in MODULES.items()
        for package in ("sikff.training", "sikff.calculators")
        if name.startswith(package)
        and re.search(rf"^\s*(from|import) {package}", path.read_text("utf-8"), re.M)
    ]
    assert not absolute


def test_a_climbing_import_is_seen(tmp_path: Path) -> None:
    """The reader of imports knows every way of writing one."""
    path = tmp_path / "linear.py"
    path.write_text(
        "import torch, sikff.training.fitting.fit\n"
        "from sikff.calculators import ase\n"
        "from sikff import graph, load\n"
        "from ..forcefield.energy import EnergyModel\n"
        "from . import kernel\n"
        "def late():\n    from ..field_types import FieldType\n"
    )
    found = {room(target) for _, target in imports("sikff.nn.linear", path)}
    assert found == {
        "sikff.training.fitting",
        "sikff.calculators",
        "sikff.graph",
        "sikff",
        "sikff.forcefield",
        "sikff.nn",
        "sikff.field_types",
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


@pytest.mark.parametrize("folder", MOST_LINES)
def test_rooms_stay_small(folder: str) -> None:
    lengths = {
        path.relative_to(ROOT): len(path.read_text(encoding="utf-8").splitlines())
        for path in (ROOT / folder).rglob("*.py")
    }
    assert lengths, f"{folder}/ holds no Python file"
    long = [f"{path} ({lines})" for path, lines in lengths.items() if lines > MOST_LINES[folder]]
    assert not long, f"past {MOST_LINES[folder]} lines, so probably two things: {', '.join(long)}"
