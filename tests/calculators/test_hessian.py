"""Second derivatives of the energy, against differences of forces and the vibrations of ASE."""

from pathlib import Path
from typing import Any

import ase
import numpy as np
import pytest
import torch
from ase.calculators.calculator import CalculationFailed
from ase.vibrations import Vibrations, VibrationsData

import sikff.calculators.hessian
from force_fields import crystal, ethanol, force_field, slab
from pair_model import PairModel
from sikff.calculators import SIKFFCalculator
from sikff.forcefield import chunks
from tolerances import TOLERANCES

LIMITS = TOLERANCES[torch.float64]
PLANE = {"plane_origin": (0.0, 0.0, -3.0), "field": True}


def differences(atoms: ase.Atoms, step: float = 2e-3) -> np.ndarray:
    """Central differences of fourth order of the forces."""
    rows, moved = [], atoms.copy()
    moved.calc = atoms.calc
    for k in range(3 * len(atoms)):
        forces = []
        for n in (-2, -1, 1, 2):
            moved.positions = atoms.positions
            moved.positions[k // 3, k % 3] += n * step
            forces.append(moved.get_forces().ravel())
        a, b, c, d = forces
        rows.append(-(a - 8 * b + 8 * c - d) / (12 * step))
    return np.array(rows)


CASES: dict[str, tuple[Any, ase.Atoms]] = {
    "molecule": ([force_field()], ethanol()),
    "crystal": ([force_field(zbl=True)], crystal()),
    "slab": ([force_field("C6v")], slab()),
    "committee": ([force_field(), force_field(seed=1)], ethanol()),
    "surface and field": ([force_field("C_inf_v", environment=PLANE)], ethanol()),
    "pairs": ([PairModel(("H", "C", "O")).double()], ethanol()),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("method", ["derivatives", "differences"])
def test_the_hessian_is_the_derivative_of_the_forces(case: str, method: Any) -> None:
    models, atoms = CASES[case]
    if case == "surface and field":
        atoms.info["electric_field"] = [0.0, 0.0, 0.2]
    atoms.calc = SIKFFCalculator(models, device="cpu")
    found, expected = atoms.calc.get_hessian(atoms, method=method), differences(atoms)
    largest = abs(expected).max()
    assert found.shape == 2 * (3 * len(atoms),)
    assert np.array_equal(found, found.T)
    assert abs(found - expected).max() < (1e-6 if method == "derivatives" else 1e-3) * largest
    assert largest > 0.1
    part = atoms.calc.get_hessian(atoms, [2, 0], method)
    places = [6, 7, 8, 0, 1, 2]
    assert abs(part - found[np.ix_(places, places)]).max() < LIMITS.gradient * largest


def test_large_systems_take_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    atoms = ethanol()
    atoms.calc = SIKFFCalculator(force_field(), device="cpu", replay_after=None)
    derivatives, taken = (atoms.calc.get_hessian(atoms, method=m) for m in ("derivatives", "auto"))
    assert np.array_equal(taken, derivatives)
    monkeypatch.setattr(sikff.calculators.hessian, "MOST_ATOMS", 8)
    taken = atoms.calc.get_hessian(atoms)
    assert np.array_equal(taken, atoms.calc.get_hessian(atoms, method="differences"))
    assert not np.array_equal(taken, derivatives)


def test_models_in_chunks_have_the_same_hessian(monkeypatch: pytest.MonkeyPatch) -> None:
    atoms, model = ethanol(), force_field()
    atoms.calc = SIKFFCalculator(model, device="cpu")
    expected = atoms.calc.get_hessian(atoms)
    for saved in (0, 10**9):
        monkeypatch.setitem(chunks.CHUNK_BYTES, "cpu", 20 * model.sender_bytes)
        monkeypatch.setitem(chunks.SAVED_BYTES, "cpu", saved)
        found = atoms.calc.get_hessian(atoms)
        assert abs(found - expected).max() < LIMITS.gradient * abs(expected).max()
        assert not np.array_equal(found, expected)


def test_single_precision_is_as_good_as_its_type() -> None:
    atoms = ethanol()
    atoms.calc = SIKFFCalculator(force_field(), device="cpu")
    exact = atoms.calc.get_hessian(atoms)
    atoms.calc = SIKFFCalculator(force_field(), device="cpu", dtype="float32")
    assert abs(atoms.calc.get_hessian(atoms) - exact).max() < 1e-4 * abs(exact).max()


def test_normal_modes_are_those_of_ase(tmp_path: Path) -> None:
    atoms = crystal()
    atoms.calc = SIKFFCalculator(force_field(zbl=True), device="cpu")
    found = VibrationsData.from_2d(atoms, atoms.calc.get_hessian(atoms)).get_energies()
    oracle = Vibrations(atoms, name=str(tmp_path / "vibrations"), delta=0.002)
    oracle.run()
    expected = oracle.get_energies()
    assert np.abs(found**2 - expected**2).max() < 1e-4 * np.abs(expected**2).max()
    assert np.abs(found).max() > 1e-3


def test_atoms_alone_have_no_second_derivatives() -> None:
    atoms = ase.Atoms("OH", [[0, 0, 0], [0, 0, 20.0]])
    atoms.calc = SIKFFCalculator(force_field(), device="cpu")
    assert np.array_equal(atoms.calc.get_hessian(atoms), np.zeros((6, 6)))


def test_the_results_of_the_calculator_stay() -> None:
    atoms = ethanol()
    atoms.calc = SIKFFCalculator(force_field(), device="cpu")
    forces = atoms.get_forces()
    with torch.inference_mode():
        inside = atoms.calc.get_hessian()
    assert np.array_equal(atoms.get_forces(), forces)
    assert np.array_equal(inside, atoms.calc.get_hessian(atoms))


def test_what_has_no_hessian_raises() -> None:
    atoms, calculator = ethanol(), SIKFFCalculator(force_field(), device="cpu")
    with pytest.raises(ValueError, match="no atoms given"):
        calculator.get_hessian()
    with pytest.raises(ValueError, match="expected some of the 9 atoms, which are counted from 0"):
        calculator.get_hessian(atoms, [9])
    with pytest.raises(ValueError, match="expected auto, derivatives or differences"):
        calculator.get_hessian(atoms, method="guess")
    with pytest.raises(ValueError, match="positive displacement"):
        calculator.get_hessian(atoms, method="differences", step=0.0)
    atoms.positions[0] = atoms.positions[1]
    with pytest.raises(ValueError, match="0 Å apart"):
        calculator.get_hessian(atoms)
    broken = PairModel(("H", "C", "O")).double()
    with torch.no_grad():
        broken.weight.fill_(torch.nan)
    with pytest.raises(CalculationFailed, match="NaN or infinity in hessian"):
        SIKFFCalculator(broken, device="cpu").get_hessian(ethanol())
