"""The ASE calculator: its results, its arguments and its errors."""

from pathlib import Path

import ase
import ase.db
import numpy as np
import pytest
import torch
from ase.build import molecule
from ase.calculators.calculator import CalculationFailed, PropertyNotImplementedError

from force_fields import crystal, ethanol, force_field
from pair_model import PairModel, structures
from sikff.calculators import SIKFFCalculator
from sikff.forcefield import ForceField
from tolerances import TOLERANCES

LIMITS = TOLERANCES[torch.float64]


def with_calculator(atoms: ase.Atoms, **kwargs: object) -> ase.Atoms:
    atoms.calc = SIKFFCalculator(PairModel().double(), device="cpu", **kwargs)
    return atoms


@pytest.mark.parametrize("atoms", structures(), ids=str)
def test_results_have_the_types_ase_expects(atoms: ase.Atoms) -> None:
    atoms = with_calculator(atoms)
    assert type(atoms.get_potential_energy()) is float
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()
    assert atoms.get_forces().shape == (len(atoms), 3)
    assert atoms.get_forces().dtype == np.float64
    energies = atoms.get_potential_energies()
    assert abs(energies.sum() - atoms.get_potential_energy()) < LIMITS.parity
    atoms.calc.export_properties()
    stress = ["stress"] if atoms.cell.rank == 3 else []
    properties = atoms.get_properties(["energy", "forces", *stress])
    assert properties["energy"] == atoms.get_potential_energy()
    assert [properties[name].shape for name in stress] == [(6,)] * len(stress)


def test_vacuum_scales_the_stress_of_a_slab_like_its_volume() -> None:
    """The stress is divided by the volume of the given cell, also for aperiodic directions."""
    atoms = with_calculator(structures()[1])
    virial = atoms.get_stress() * atoms.get_volume()
    assert np.abs(virial).max() > 0.1
    cell = atoms.cell.array.copy()
    cell[2] *= 3
    atoms.set_cell(cell)
    assert np.abs(atoms.get_stress() * atoms.get_volume() - virial).max() < LIMITS.gradient


@pytest.mark.parametrize(
    ("cell", "pbc"),
    [
        (None, False),
        ([9, 9, 0], (True, True, False)),
        ([[5, 0, 0], [0, 5, 0], [5, 5, 1e-9]], False),  # flat, but no vector is missing
    ],
)
def test_stress_without_a_volume_is_not_implemented(cell: object, pbc: object) -> None:
    atoms = with_calculator(molecule("H2", cell=cell, pbc=pbc))
    with pytest.raises(PropertyNotImplementedError, match="stress needs a cell with a volume; got"):
        atoms.get_stress()
    assert np.isfinite(atoms.get_forces()).all()


def test_different_fields_in_info_and_parameters_raise() -> None:
    atoms = with_calculator(molecule("H2"), electric_field=[0, 0, 1])
    atoms.info["electric_field"] = [0, 0, 1.0]
    atoms.get_forces()
    atoms.info["electric_field"] = [0, 0, 2.0]
    with pytest.raises(ValueError, match="expected one of them, or the same in both"):
        atoms.get_forces()


def test_a_field_that_the_model_does_not_read_raises() -> None:
    atoms = molecule("H2")
    atoms.calc = SIKFFCalculator(force_field(), device="cpu")
    atoms.info["electric_field"] = [0, 0, 0]
    atoms.get_forces()
    atoms.info["electric_field"] = [0, 0, 1]
    with pytest.raises(ValueError, match="the model reads no field"):
        atoms.get_forces()


def test_a_given_model_does_not_change() -> None:
    model = PairModel().train()
    atoms = molecule("H2")
    atoms.calc = SIKFFCalculator(model, device="cpu", dtype="float64")
    atoms.get_forces()
    assert model.training
    assert model.weight.requires_grad
    assert model.weight.dtype == torch.float32


def test_results_do_not_depend_on_the_default_device() -> None:
    atoms, other = ethanol(), ethanol()
    for each in (atoms, other):
        each.calc = SIKFFCalculator(force_field(), device="cpu")
    with torch.device("meta"):
        forces = atoms.get_forces()
    assert np.array_equal(forces, other.get_forces())


def test_nan_stops_the_calculation() -> None:
    atoms = with_calculator(molecule("H2"))
    with torch.no_grad():
        atoms.calc.models[0].weight.fill_(torch.nan)
    with pytest.raises(CalculationFailed, match="NaN or infinity in energy"):
        atoms.get_potential_energy()
    assert not atoms.calc.results


def test_overlapping_atoms_raise_and_leave_no_results() -> None:
    atoms = with_calculator(molecule("H2"))
    atoms.get_forces()
    atoms.positions[1] = atoms.positions[0] + [0, 0, 0.03]  # within the skin: no search
    with pytest.raises(ValueError, match=r"atoms 0 \(H\) and 1 \(H\) are 0.03 Å apart"):
        atoms.get_forces()
    assert not atoms.calc.results


def test_results_of_other_atoms_are_dropped_although_an_error_follows() -> None:
    atoms = molecule("H2")
    calculator = SIKFFCalculator(PairModel().double(), device="cpu")
    calculator.calculate(atoms)
    atoms.positions[1] = atoms.positions[0] + [0, 0, 0.03]
    with pytest.raises(ValueError, match=r"0\.03 Å apart"):
        calculator.calculate(atoms)
    with pytest.raises(ValueError, match=r"0\.03 Å apart"):
        calculator.get_property("energy", atoms)


def test_a_model_file_gives_the_results_of_the_model(tmp_path: Path) -> None:
    model = force_field().float()
    model.save(tmp_path / "m.sikff")
    atoms, other = molecule("H2"), molecule("H2")
    atoms.calc = SIKFFCalculator(str(tmp_path / "m.sikff"), device="cpu", dtype="float64")
    other.calc = SIKFFCalculator(model, device="cpu", dtype=torch.float64)
    assert next(atoms.calc.models[0].parameters()).dtype == torch.float64
    assert np.abs(atoms.get_forces() - other.get_forces()).max() < LIMITS.parity
    with pytest.raises(FileNotFoundError):
        SIKFFCalculator(tmp_path / "absent.sikff")


def test_a_database_records_the_model(tmp_path: Path) -> None:
    path = tmp_path / "m.sikff"
    force_field().save(path)
    atoms = molecule("H2")
    atoms.calc = SIKFFCalculator([path, force_field()], device="cpu")
    atoms.get_forces()
    assert repr(atoms.calc) == f"SIKFFCalculator({path}, ForceField, device='cpu')"
    with ase.db.connect(tmp_path / "a.db") as rows:
        rows.write(atoms)
        assert next(rows.select()).calculator_parameters == {"model": [str(path), "ForceField"]}


def test_bad_keywords_raise() -> None:
    with pytest.raises(ValueError, match=r"no parameter precision; expected .*, dtype, skin"):
        SIKFFCalculator(PairModel(), precision="float64")
    for value in (-3, 2.5, "never"):
        with pytest.raises(ValueError, match=r"replay_after is .*; expected a number of calls or"):
            SIKFFCalculator(PairModel(), replay_after=value)


def test_compiled_models_give_the_same_forces(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda flat, **_: compiled.append(flat) or flat)
    model, atoms = force_field(), ethanol()
    atoms.calc = SIKFFCalculator(model, device="cpu")
    forces = atoms.get_forces()
    for _ in range(2):
        atoms.calc = SIKFFCalculator(model, device="cpu", compile=True)
        assert np.abs(atoms.get_forces() - forces).max() < LIMITS.parity
    atoms.rattle(0.01)
    assert np.abs(atoms.get_forces() - forces).max() > 1e-3
    assert len(compiled) == 2
    atoms = crystal()
    atoms.calc = SIKFFCalculator(model, device="cpu", compile=True)
    atoms.get_forces()
    assert atoms.get_stress().any()
    assert len(compiled) == 3  # the stress compiles nothing more


def test_calls_after_replay_after_are_replayed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    eager_calls, forward = [], ForceField.forward
    monkeypatch.setattr(
        ForceField,
        "forward",
        lambda *args, **named: eager_calls.append(1) or forward(*args, **named),
    )
    model, last_forces = force_field(), []
    for replay_after in (3, None):
        atoms = ethanol()
        atoms.calc = SIKFFCalculator(model, device="cpu", replay_after=replay_after)
        for step in range(5):
            atoms.rattle(0.001, seed=step)
            forces = atoms.get_forces()
        last_forces.append(forces)
        assert len(eager_calls) == (3 if replay_after else 8)
    assert np.abs(last_forces[0] - last_forces[1]).max() < LIMITS.parity
    assert np.abs(last_forces[0]).max() > 1e-2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dtype": "float16"}, "dtype is 'float16'; expected 'float32' or 'float64'"),
        ({"dtype": torch.int64}, "dtype is torch.int64; expected"),
        ({"device": "gpu"}, "device is 'gpu', which torch .* cannot use here; expected 'auto'"),
        ({"device": "mps"}, "device is 'mps', which has no float64"),
        ({"device": "cuda:99"}, "device is 'cuda:99'"),
        ({"skin": -0.5}, "skin is -0.5; expected a length in Å"),
        ({"skin": float("nan")}, "skin is nan"),
        ({"compile": True}, "compile is for models of class ForceField; got PairModel"),
        ({"electric_field": [0, 1]}, "three finite numbers in V/Å"),
        ({"electic_field": [0, 0, 1]}, "no parameter electic_field; expected electric_field"),
    ],
)
def test_bad_arguments_raise_at_construction(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SIKFFCalculator(PairModel(), **{"device": "cpu", **arguments})


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a device that is there")
def test_cuda_without_a_device_raises() -> None:
    with pytest.raises(ValueError, match=r"device is 'cuda', which torch .* cannot use here"):
        SIKFFCalculator(PairModel(), device="cuda")
