"""Committees: means and standard deviations of models of one system."""

import copy
from pathlib import Path

import ase
import numpy as np
import pytest
import torch
from ase.calculators.calculator import PropertyNotImplementedError

from force_fields import ELEMENTS, ethanol, force_field
from pair_model import PairModel, structures
from sikff import ForceField
from sikff.calculators import SIKFFCalculator
from tolerances import TOLERANCES

LIMITS = TOLERANCES[torch.float64]


def members() -> list[PairModel]:
    """Models that differ in cutoff, in the order of their elements and in their weights."""
    models = [PairModel(), PairModel(("Cu", "H"), cutoff=3.1), PairModel(cutoff=4.3)]
    for model in models:
        model.charges.zero_()
    return [model.double() for model in models]


def one_by_one(atoms: ase.Atoms, name: str) -> np.ndarray:
    """A property from each member alone, stacked."""
    values = []
    for model in members():
        alone = atoms.copy()
        alone.calc = SIKFFCalculator(model, device="cpu")
        values.append(alone.calc.get_property(name, alone))
    return np.array(values)


def test_results_are_means_and_deviations_are_sample_deviations() -> None:
    atoms = structures()[0]
    atoms.numbers[0] = 1
    atoms.calc = SIKFFCalculator(members(), device="cpu")
    for name in atoms.calc.implemented_properties:
        error = atoms.calc.get_property(name, atoms) - one_by_one(atoms, name).mean(axis=0)
        assert np.abs(error).max() < LIMITS.parity
    deviations = atoms.calc.get_deviations(atoms)
    for name in ("energy", "forces"):
        each = one_by_one(atoms, name)
        expected = np.sqrt(((each - each.mean(axis=0)) ** 2).sum(axis=0) / 2)
        assert np.abs(expected).max() > 0.01
        assert np.abs(deviations[f"{name}_std"] - expected).max() < LIMITS.parity
    assert isinstance(deviations["energy_std"], float)
    assert deviations.keys() == {"energy_std", "forces_std"}


def test_deviations_are_not_among_the_results_of_ase() -> None:
    atoms = structures()[0]
    atoms.calc = SIKFFCalculator(members(), device="cpu")
    atoms.get_properties(["energy", "forces", "stress", "stresses", "dipole"])
    assert atoms.calc.results.keys() == set(SIKFFCalculator.implemented_properties)
    assert type(atoms.get_potential_energy()) is float


def test_deviations_are_never_stale() -> None:
    atoms, other = structures()[0], structures()[0]
    atoms.calc = SIKFFCalculator(members(), device="cpu")
    before = atoms.calc.get_deviations(atoms)
    np.testing.assert_equal(atoms.calc.get_deviations(), before)
    for change in (lambda a: a.rattle(0.1, seed=4), lambda a: a.set_cell(1.1 * a.cell)):
        change(atoms)
        change(other)
        other.calc = SIKFFCalculator(members(), device="cpu")
        deviations = atoms.calc.get_deviations(atoms)
        assert deviations["energy_std"] != before["energy_std"]
        np.testing.assert_equal(deviations, other.calc.get_deviations(other))
        deviations["forces_std"][:] = 0  # a copy
        np.testing.assert_equal(atoms.calc.get_deviations(atoms), other.calc.get_deviations(other))
        atoms.get_stress()
        np.testing.assert_equal(atoms.calc.get_deviations(atoms), other.calc.get_deviations(other))


def test_members_with_one_cutoff_share_a_list() -> None:
    atoms = structures()[0]
    for models, lists in (([PairModel(), PairModel()], 1), (members(), 3)):
        atoms.calc = SIKFFCalculator(models, device="cpu")
        atoms.get_forces()
        assert atoms.calc.neighbour_rebuilds == lists


def test_copies_of_a_committee_are_equal() -> None:
    atoms = structures()[0]
    atoms.calc = SIKFFCalculator(members(), device="cpu")
    expected = atoms.calc.get_deviations(atoms)
    other = atoms.copy()
    other.calc = copy.deepcopy(atoms.calc)
    np.testing.assert_equal(other.calc.get_deviations(other), expected)


def test_committees_may_mix_files_and_models(tmp_path: Path) -> None:
    models = [force_field(seed=seed) for seed in range(2)]
    models[0].save(tmp_path / "0.sikff")
    atoms = ethanol()
    energies = []
    for given in (models[0], models[1], (tmp_path / "0.sikff", models[1])):
        atoms.calc = SIKFFCalculator(given, device="cpu", dtype="float64")
        energies.append(atoms.get_potential_energy())
    assert energies[0] != energies[1]
    assert abs(energies[2] - (energies[0] + energies[1]) / 2) < LIMITS.parity


@pytest.mark.parametrize("given", [PairModel(), [PairModel()]], ids=["model", "list of one"])
def test_one_model_has_no_deviations(given: PairModel | list[PairModel]) -> None:
    atoms = structures()[0]
    atoms.calc = SIKFFCalculator(given, device="cpu")
    atoms.get_forces()
    with pytest.raises(PropertyNotImplementedError, match="give it a list of at least two"):
        atoms.calc.get_deviations(atoms)


def test_planes_are_equal_however_they_are_written() -> None:
    atoms = ethanol()
    ways = (((0, 0, 1), (0, 0, -2.0)), ((0, 0, 3), (5.0, 1.0, -2.0)))
    models = [
        force_field("C_inf_v", axis=axis, environment={"plane_origin": origin})
        for axis, origin in ways
    ]
    both = SIKFFCalculator(models, device="cpu")
    one = SIKFFCalculator(models[0], device="cpu")
    difference = both.get_potential_energy(atoms) - one.get_potential_energy(atoms)
    assert abs(difference) < LIMITS.invariance * len(atoms)
    turned = force_field("C_inf_v", axis=(0, 0, -1), environment={"plane_origin": (0, 0, -2.0)})
    with pytest.raises(ValueError, match="the models of the committee disagree"):
        SIKFFCalculator([models[0], turned], device="cpu")


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ([], "list of models is empty; expected at least one"),
        (
            [PairModel(), PairModel(("H", "O"))],
            "model 1 knows the elements H, O, model 0 knows the elements Cu, H; expected the same",
        ),
        (
            [PairModel(ELEMENTS), force_field(environment={"field": True}), force_field()],
            "model 2 reads no electric field and sees no plane, model 1 reads the electric field",
        ),
        (
            [force_field("SO(2)", environment={"plane_origin": (0, 0, z)}) for z in (1.0, 2.0)],
            r"model 1 .* sees a plane through \[0.0, 0.0, 2.0\] normal to",
        ),
    ],
)
def test_models_of_different_systems_raise(
    models: list[PairModel | ForceField], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        SIKFFCalculator(models, device="cpu")
