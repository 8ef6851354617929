"""Simulations that go on from a restart file."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
import pytest
import torch
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms, FixBondLengths, Hookean
from ase.data import chemical_symbols

from disk import full_disk
from force_fields import SMALL, crystal, ethanol, force_field
from pair_model import PairModel
from sikff import ForceField, ForceFieldConfig
from sikff.calculators import SIKFFCalculator
from sikff.training.simulation.md import run_md
from sikff.training.simulation.settings import MDSettings

FLAT = {"plane_origin": (0.0, 0.0, -7.0), "plane_range": 16.0}
ON_SURFACE = {"group": "C_inf_v", "vacuum_group": "O(3)", "environment": FLAT}


def molecule_of(model: Any, *constraints: Any, **options: Any) -> ase.Atoms:
    atoms = ethanol()
    atoms.set_constraint(constraints)
    atoms.calc = SIKFFCalculator(model, device="cpu", **options)
    return atoms


def crystal_of(model: Any) -> ase.Atoms:
    atoms = crystal()
    atoms.calc = SIKFFCalculator(model, device="cpu")
    return atoms


CASES: dict[str, tuple[Callable[[], ase.Atoms], dict[str, Any]]] = {
    "nve": (lambda: molecule_of(force_field()), {"ensemble": "nve"}),
    "nvt": (lambda: molecule_of(force_field()), {"ensemble": "nvt"}),
    "npt": (lambda: crystal_of(force_field()), {"ensemble": "npt", "friction": 0.1}),
    "shape": (
        lambda: crystal_of(force_field()),
        {"ensemble": "npt", "shape": True, "friction": 0.05},
    ),
    "nose-hoover": (lambda: crystal_of(force_field()), {"thermostat": "nose-hoover"}),
    "bussi": (lambda: crystal_of(force_field()), {"thermostat": "bussi"}),
    "surface": (lambda: molecule_of(force_field(**ON_SURFACE)), {"surface_friction": 0.01}),
    "bonds": (
        lambda: molecule_of(
            force_field(), FixBondLengths([(0, 2), (1, 3)]), Hookean(4, 5, 1.0, rt=0.9)
        ),
        {"ensemble": "nvt"},
    ),
    "held": (lambda: molecule_of(force_field(), FixAtoms([0])), {"ensemble": "nve"}),
    "committee": (
        lambda: molecule_of([force_field(), force_field(seed=1)]),
        {"ensemble": "nvt"},
    ),
    "many elements": (lambda: molecule_of(of_many_elements()), {"ensemble": "nvt"}),
    "other calculator": (lambda: on_emt(), {"ensemble": "nvt"}),
}


def of_many_elements() -> ForceField:
    """One that the calculator cuts down to the elements of a structure."""
    elements = tuple(chemical_symbols[1:20])
    options = SMALL | {"elements": elements, "atomic_energies": {}, "energy_scale": 0.1}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ForceField(ForceFieldConfig(**options)).double().eval()


def on_emt() -> ase.Atoms:
    atoms = ase.Atoms("Cu4", 2.6 * np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]))
    atoms.calc = EMT()
    return atoms


def run(
    atoms: ase.Atoms, folder: Path, steps: int, go_on: bool = False, **options: Any
) -> dict[str, float]:
    """With two kinds of trajectories, one by ASE and one by lines, in turns."""
    folder.mkdir(exist_ok=True)
    given = {"timestep": 1.0, "every": 4, "restart_every": 5, "steps": steps, "seed": 3}
    on_step = options.pop("on_step", None)
    frames = folder / options.pop("frames", "md.xyz")
    settings = MDSettings.model_validate(given | options)
    files = {"restart": folder / "md.restart", "go_on": go_on, "on_step": on_step}
    return run_md(atoms, settings, folder / "md.csv", frames, **files)


@pytest.mark.filterwarnings("ignore:.* cannot hold FixBondLengths")
@pytest.mark.parametrize("case", CASES)
def test_a_run_in_parts_is_the_run_in_one_to_the_last_bit(tmp_path: Path, case: str) -> None:
    """The parts end before, at and after a row, and after the step from which on forces are
    replayed, which rounds them in another way."""
    make, options = CASES[case]
    whole, parts = make(), make()
    expected = run(whole, tmp_path / "whole", 40, **options)
    for k, steps in enumerate((3, 8, 21, 40)):
        parts = make()
        found = run(parts, tmp_path / "parts", steps, go_on=k > 0, **options)
    for name in ("md.csv", "md.xyz"):
        written = [(tmp_path / each / name).read_bytes() for each in ("whole", "parts")]
        assert written[0] == written[1]
    assert np.array_equal(parts.positions, whole.positions)
    assert np.array_equal(parts.get_momenta(), whole.get_momenta())
    assert np.array_equal(parts.cell.array, whole.cell.array)
    assert found == expected


def test_without_its_history_a_calculator_rounds_in_another_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the test above would find."""
    whole, parts = molecule_of(force_field()), molecule_of(force_field())
    run(whole, tmp_path / "whole", 40)
    run(parts, tmp_path / "parts", 21)
    monkeypatch.setattr(SIKFFCalculator, "resume", lambda self, history: self.reset())
    parts = molecule_of(force_field())
    run(parts, tmp_path / "parts", 40, go_on=True)
    assert not np.array_equal(parts.get_momenta(), whole.get_momenta())
    assert np.abs(parts.positions - whole.positions).max() < 1e-9


@pytest.mark.parametrize("frames", ["md.traj", "md.xyz"])
def test_an_interrupt_within_a_step_leaves_the_state_before_it(tmp_path: Path, frames: str) -> None:
    whole, parts = molecule_of(force_field()), molecule_of(force_field())
    run(whole, tmp_path / "whole", 15, frames=frames)
    compute, calls = parts.calc.calculate, []

    def interrupted(*args: Any) -> None:
        calls.append(0)
        if len(calls) == 10:
            raise KeyboardInterrupt
        compute(*args)

    parts.calc.calculate = interrupted
    with pytest.raises(KeyboardInterrupt):
        run(parts, tmp_path / "parts", 15, frames=frames)
    parts = molecule_of(force_field())
    seen: list[int] = []
    run(parts, tmp_path / "parts", 15, go_on=True, on_step=seen.append, frames=frames)
    assert seen == list(range(9, 16))
    assert np.array_equal(parts.positions, whole.positions)
    assert_same_frames(tmp_path, frames)


@pytest.mark.parametrize("frames", ["md.traj", "md.xyz"])
def test_rows_and_frames_after_the_state_are_written_again(tmp_path: Path, frames: str) -> None:
    """As after kill -9, which leaves the last restart file and what came after it."""
    whole, parts = molecule_of(force_field()), molecule_of(force_field())
    run(whole, tmp_path / "whole", 15, frames=frames)
    folder, old = tmp_path / "parts", tmp_path / "old"

    def keep(step: int) -> None:
        if step == 5:
            shutil.copy(folder / "md.restart", old)

    run(parts, folder, 13, on_step=keep, frames=frames)
    shutil.copy(old, folder / "md.restart")
    parts = molecule_of(force_field())
    seen: list[int] = []
    run(parts, folder, 15, go_on=True, on_step=seen.append, frames=frames)
    assert seen == list(range(6, 16))
    assert (folder / "md.csv").read_bytes() == (tmp_path / "whole" / "md.csv").read_bytes()
    assert_same_frames(tmp_path, frames)


def assert_same_frames(folder: Path, name: str) -> None:
    some, others = (ase.io.read(folder / each / name, index=":") for each in ("whole", "parts"))
    assert len(some) == len(others) > 3
    for one, other in zip(some, others, strict=True):
        assert np.array_equal(one.positions, other.positions)
        assert one.get_potential_energy() == other.get_potential_energy()


def test_a_run_stopped_by_an_error_can_go_on(tmp_path: Path) -> None:
    whole, parts = on_emt(), on_emt()
    run(whole, tmp_path / "whole", 15)

    def fail(step: int) -> None:
        if step == 7:
            raise RuntimeError("the node is down")

    with pytest.raises(Exception, match="the node is down"):
        run(parts, tmp_path / "parts", 15, on_step=fail)
    run(parts, tmp_path / "parts", 15, go_on=True)
    assert np.array_equal(parts.positions, whole.positions)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"timestep": 0.4}, r"timestep 1\.0, not 0\.4"),
        ({"ensemble": "nvt", "seed": 1}, "ensemble nve, not nvt; seed 3, not 1"),
        ({"every": 2}, "every 4, not 2"),
        ({"frames": "b.xyz"}, r"trajectory md\.xyz, not b\.xyz"),
        ({"steps": 6}, "has done its 6 steps; expected more steps than that to continue, got 6"),
        ("atoms", "other atoms"),
        ("constraints", r"constraints \[\], not \['.*FixAtoms"),
        ("conditions", "conditions .*not"),
        ("model", "other models"),
        ("dtype", "other models"),
    ],
)
def test_a_run_with_other_arguments_is_refused(
    tmp_path: Path, change: dict[str, Any] | str, words: str
) -> None:
    def start(model: Any, **options: Any) -> ase.Atoms:
        return molecule_of(model.double(), **options)

    options = {"environment": {"field": True}, "group": "C_inf_v"}
    run(start(force_field(**options)), tmp_path, 6)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    seed = 1 if change == "model" else 0
    dtype = {"dtype": "float32"} if change == "dtype" else {}
    atoms = start(force_field(seed=seed, **options), **dtype)
    if change == "atoms":
        atoms.set_masses([2.0] * len(atoms))
    if change == "constraints":
        atoms.set_constraint(FixAtoms([0]))
    if change == "conditions":
        atoms.info["electric_field"] = [0, 0, 0.1]
    given = {"steps": 9} | (change if isinstance(change, dict) else {})
    with pytest.raises(ValueError, match=words):
        run(atoms, tmp_path, go_on=True, **given)
    assert before == {path: path.read_bytes() for path in tmp_path.iterdir()}


@pytest.mark.parametrize("name", ["md.csv", "md.xyz", "md.restart"])
def test_missing_and_damaged_files_are_named(tmp_path: Path, name: str) -> None:
    atoms = molecule_of(PairModel(("H", "C", "O")).double())
    run(atoms, tmp_path, 8)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    expected = "no whole sikff restart" if name == "md.restart" else "has fewer than the 3 "
    with pytest.raises(ValueError, match=rf"{name}' .*{expected}"):
        run(atoms, tmp_path, 12, go_on=True)
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{name}' to .*without --continue"):
        run(atoms, tmp_path, 12, go_on=True)


def test_a_restart_file_that_cannot_be_written_leaves_the_last_one(tmp_path: Path) -> None:
    atoms = on_emt()
    run(atoms, tmp_path, 8)
    before = (tmp_path / "md.restart").read_bytes()
    with full_disk(100), pytest.raises(OSError, match="cannot write the file"):
        run_md(on_emt(), MDSettings(steps=3), restart=tmp_path / "md.restart")
    assert (tmp_path / "md.restart").read_bytes() == before


def test_float32_goes_on_too(tmp_path: Path) -> None:
    """With the weights that a run had."""
    for folder, ends in (("whole", (9,)), ("parts", (4, 9))):
        for k, steps in enumerate(ends):
            atoms = molecule_of(force_field(), dtype=torch.float32)
            run(atoms, tmp_path / folder, steps, go_on=k > 0, ensemble="nvt")
    rows = [(tmp_path / each / "md.csv").read_text() for each in ("whole", "parts")]
    assert rows[0] == rows[1]
