"""The examples run, and leave their pictures."""

import importlib.util
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import ase.io
import numpy as np
import pytest
from ase import Atoms

EXAMPLES = Path(__file__).parents[1] / "examples"
DATA = EXAMPLES / "data"
FIELD = ("methanol_field.xyz", "molecules_field.xyz", "molecules_field_pbe.xyz")
SURFACE = ("water_graphene.xyz", "water_nacl.xyz")
# distances and heights that a model's data do not have
BEYOND_DATA = ("atoms ", "an atom ", "an H ", "an O ")
COPIES = ("water_graphene_copies.xyz", "water_nacl_copies.xyz")


def run(script: str, *arguments: object, allowed: Sequence[str] = ()) -> str:
    """What a script says; its warnings are errors, but those that begin with allowed words."""
    filters = ["error", *(f"default:{words}" for words in allowed)]
    options = [part for each in filters for part in ("-W", each)]
    command = [sys.executable, *options, EXAMPLES / script, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What the demo says, and its folder."""
    output = tmp_path_factory.mktemp("demo") / "run"
    # trained for so short a time it may leave its data
    size = ("--minutes", 0.1, "--steps", 12)
    said = run("demo.py", "--output", output, *size, allowed=BEYOND_DATA)
    return said, output


@pytest.mark.slow
def test_demo(demo: tuple[str, Path]) -> None:
    said, output = demo
    assert "blind to the field" in said
    assert "energy drift" in said
    pictures = {path.name for path in output.glob("*.png")}
    assert {"orientation.png", "nve_drift.png", "parity_O3.png", "parity_C_inf_v.png"} <= pictures


@pytest.mark.slow
def test_orientation(demo: tuple[str, Path]) -> None:
    said = run("orientation.py", demo[1], "--steps", 8)
    assert "Langevin" in said
    assert (demo[1] / "langevin.png").stat().st_size > 10_000


def test_kernels(tmp_path: Path) -> None:
    run("kernels.py", tmp_path / "kernels.png")
    assert (tmp_path / "kernels.png").stat().st_size > 10_000


@pytest.mark.slow
def test_committee(tmp_path: Path) -> None:
    # asked of geometries beyond its data, of which a model warns
    size = ("--minutes", 0.02, "--members", 2)
    said = run("committee.py", "--output", tmp_path / "c", *size, allowed=BEYOND_DATA)
    assert "force_std" in said
    assert (tmp_path / "c" / "committee.png").stat().st_size > 10_000


@pytest.fixture(scope="module")
def on_graphene(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What the example of water on graphene says, and its folder."""
    output = tmp_path_factory.mktemp("graphene") / "run"
    size = ("--minutes", 0.1, "--steps", 40, "--turns", 8)
    said = run("water_on_graphene.py", "--output", output, *size, allowed=BEYOND_DATA)
    return said, output


@pytest.mark.slow
def test_water_on_graphene(on_graphene: tuple[str, Path]) -> None:
    said, output = on_graphene
    assert "the corrugation of the sheet" in said
    assert "beyond the range of the surface: 0.0e+00 eV" in said
    pictures = {path.name for path in output.glob("*.png")}
    assert {"binding.png", "mean_force.png", "nve_drift.png", "parity_O3.png"} <= pictures


@pytest.mark.slow
def test_desorption(on_graphene: tuple[str, Path], tmp_path: Path) -> None:
    model = on_graphene[1] / "C_inf_v" / "model.sikff"
    size = ("--steps", 3, "--samples", 64)
    said = run("desorption.py", model, "--output", tmp_path, *size, allowed=BEYOND_DATA)
    assert "transition-state theory" in said
    assert (tmp_path / "desorption.png").stat().st_size > 10_000


@pytest.fixture(scope="module")
def on_salt(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What the example of water on salt says, and its folder."""
    output = tmp_path_factory.mktemp("salt") / "run"
    size = ("--grid", 2, "--starts", 1, "--images", 1)
    # trained for so short a time it may pull the molecule below the heights of its data
    arguments = ("--output", output, "--minutes", 0.25, *size)
    return run("water_on_salt.py", *arguments, allowed=BEYOND_DATA), output


@pytest.mark.slow
def test_water_on_salt(on_salt: tuple[str, Path]) -> None:
    said, output = on_salt
    assert "the reference has 104 meV" in said
    assert (output / "water_on_salt.png").stat().st_size > 10_000


@pytest.mark.slow
def test_hops_on_salt(on_salt: tuple[str, Path], tmp_path: Path) -> None:
    size = ("--steps", 80, "--grid", 2)
    model = on_salt[1] / "C4v" / "model.sikff"
    said = run("hops_on_salt.py", model, "--output", tmp_path, *size, allowed=BEYOND_DATA)
    assert "Å²/ps from displacements" in said
    assert (tmp_path / "hops_on_salt.png").stat().st_size > 10_000


@pytest.mark.slow
def test_silicon(tmp_path: Path) -> None:
    size = ("--minutes", 0.1, "--properties", "phonons", "--size", 6, "--picoseconds", 0.02)
    said = run("silicon.py", "--output", tmp_path / "si", *size, allowed=BEYOND_DATA)
    assert re.search(r"highest_phonon_THz +[\d.]+ +12\.4935", said), "the model, its reference"
    assert "no atoms nearer than" in said
    assert (tmp_path / "si" / "silicon.png").stat().st_size > 10_000


def test_labels_of_silicon_are_of_one_potential() -> None:
    """No force on the whole, and stresses that are derivatives of the energy by the volume."""
    frames = ase.io.read(DATA / "silicon.xyz", index=":")
    for atoms in frames:
        assert np.abs(atoms.arrays["REF_forces"].sum(axis=0)).max() < 1e-3
        assert atoms.info["REF_stress"].shape == (6,)
    curve = [atoms for atoms in frames if atoms.info["sample"] == "volume"]
    curve.sort(key=Atoms.get_volume)
    volumes = np.array([atoms.get_volume() for atoms in curve])
    energies = np.array([atoms.info["REF_energy"] for atoms in curve])
    pressures = np.array([-atoms.info["REF_stress"][:3].mean() for atoms in curve])
    between = (pressures[1:] + pressures[:-1]) / 2 * np.diff(volumes)
    assert np.abs(np.diff(energies) + between).max() < 0.03, "eV"
    assert np.abs(np.diff(energies)).max() > 0.1


@pytest.mark.slow
def test_restriction(tmp_path: Path) -> None:
    times = ("--minutes", 0.02, "--vacuum-minutes", 0.02, "--together", 6)
    size = ("--sizes", 10, "--free", 60, "--test", 20)
    run("restriction.py", "--output", tmp_path, *size, *times)
    rows = (tmp_path / "errors.csv").read_text().splitlines()
    assert len(rows) == 8
    assert (tmp_path / "restriction.png").stat().st_size > 10_000
    said = run("restriction.py", "--output", tmp_path, *size, *times)
    assert "training" not in said, "it goes on where it was"


@pytest.mark.slow
def test_stark_shift(tmp_path: Path) -> None:
    size = ("--test", 15, "--fields", 2)
    said = run("stark_shift.py", "--output", tmp_path, "--minutes", 0.15, *size)
    assert "dipoles off by" in said
    assert (tmp_path / "stark.png").stat().st_size > 10_000


def molecules(name: str) -> list[Atoms]:
    """The molecules of a data file; its isolated atoms, at least one, come before them."""
    frames = ase.io.read(DATA / name, index=":")
    n_isolated = sum(atoms.info["config_type"] == "IsolatedAtom" for atoms in frames)
    assert n_isolated > 0
    assert all(len(atoms) == 1 for atoms in frames[:n_isolated])
    isolated = {atoms.symbols[0]: atoms.info["REF_energy"] for atoms in frames[:n_isolated]}
    for atoms in frames[n_isolated:]:
        bound = atoms.info["REF_energy"] - sum(isolated[symbol] for symbol in atoms.symbols)
        assert bound < -4, "eV; molecules are bound"
    return frames[n_isolated:]


@pytest.mark.parametrize("name", FIELD)
def test_field_labels_balance(name: str) -> None:
    """A field pulls a neutral molecule nowhere, and turns it by the torque mu x F."""
    # PySCF's grid does not turn with the molecule; see the README of the data.
    tolerance = 1e-3 if name == "molecules_field.xyz" else 5e-3
    largest = 0.0
    for atoms in molecules(name):
        forces, field = atoms.arrays["REF_forces"], atoms.info["electric_field"]
        torque = np.cross(atoms.positions, forces).sum(axis=0)
        expected = np.cross(atoms.info["REF_dipole"], field)
        assert np.abs(forces.sum(axis=0)).max() < tolerance
        assert np.abs(torque - expected).max() < tolerance
        largest = max(largest, np.abs(torque + expected).max())
    assert largest > 10 * tolerance, "the sign of the field matters"


@pytest.mark.parametrize("name", SURFACE)
def test_surface_ends_in_vacuum(name: str) -> None:
    """From 12 Å on nothing pulls the molecule; nearer the surface does."""
    near = []
    for atoms in molecules(name):
        height = atoms.get_center_of_mass()[2]
        pull = np.abs(atoms.arrays["REF_forces"].sum(axis=0)).max()
        assert height > 1
        assert not atoms.pbc.any()
        if height > 12:
            assert pull < 1e-4, "eV/Å; the file has five decimals"
        else:
            near.append(pull)
            assert atoms.info["surface"] in name
    assert np.median(near) > 1e-2


@pytest.mark.parametrize("name", SURFACE)
def test_surface_is_split(name: str) -> None:
    configs = [atoms.info["config_type"] for atoms in molecules(name)]
    assert 4 < configs.count("train") / configs.count("test") < 6
    assert set(configs[: len(configs) // 5]) == {"train", "test"}, "the order is shuffled"


@pytest.fixture(scope="module")
def floor() -> ModuleType:
    spec = importlib.util.spec_from_file_location("floor", DATA / "floor.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", COPIES)
def test_floor(floor: ModuleType, name: str) -> None:
    """The copies are one molecule, turned by the azimuth that they state."""
    frames = ase.io.read(DATA / name, index=":")
    found = floor.residuals(frames)
    first: dict[int, Atoms] = {}
    for atoms in frames:
        other = first.setdefault(atoms.info["copy_of"], atoms)
        assert np.allclose(atoms.get_all_distances(), other.get_all_distances(), atol=1e-4)
        assert np.allclose(atoms.positions[:, 2], other.positions[:, 2], atol=1e-4)
    high, low = found.height > 5, found.height < 3
    errors = np.abs(found.forces).mean(axis=(1, 2, 3))
    assert errors[high].mean() < 1e-3 < 1e-2 < errors[low].mean(), "corrugation fades"
    for atoms in frames:
        atoms.info["azimuth"] *= -1
    assert np.abs(floor.residuals(frames).forces).mean() > 3 * np.abs(found.forces).mean()
