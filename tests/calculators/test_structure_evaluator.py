"""The evaluator below all adapters: arrays as well as ase.Atoms, one structure or several."""

from typing import Any

import ase
import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.calculator import CalculationFailed, PropertyNotImplementedError
from ase.data import chemical_symbols
from torch.utils._python_dispatch import TorchDispatchMode

from force_fields import crystal, ethanol, force_field, graph_of, slab
from pair_model import PairModel, structures
from sikff.calculators import SIKFFCalculator
from sikff.calculators.structure_evaluator import FEW_ATOMS, StructureEvaluator
from sikff.forcefield.change_elements import change_elements
from sikff.graph import StructureArrays
from sikff.graph.conditions import Conditions
from sikff.plain_torch import torch_threads
from tolerances import TOLERANCES

LIMITS = TOLERANCES[torch.float64]
FREE = Conditions()


def arrays(atoms: ase.Atoms) -> StructureArrays:
    return StructureArrays.of(atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc)


def evaluator(*models: object, **options: object) -> StructureEvaluator:
    return StructureEvaluator.of(models or [PairModel().double()], device="cpu", **options)


def systems() -> list[ase.Atoms]:
    return [crystal(), slab(), ethanol(), ase.Atoms("H")]


@pytest.mark.parametrize("several", [False, True], ids=["alone", "batched"])
def test_arrays_give_the_results_of_the_ase_calculator(several: bool) -> None:
    """While the structures move; the stress of those without a volume is NaN."""
    model = force_field("C_inf_v", environment={"field": True})
    moving, rng = systems(), np.random.default_rng(0)
    fields = [Conditions((0.0, 0.0, 0.1 * n)) for n in range(len(moving))]
    batched = evaluator(model)
    single = [evaluator(model) for _ in moving]
    for _ in range(3):
        for atoms in moving:
            atoms.positions += rng.normal(0, 0.02, atoms.positions.shape)
        given = list(map(arrays, moving))
        wanted = {"stress": True, "atomic_stress": True}
        if several:
            found = batched.mean(given, fields, **wanted)
            sizes = list(map(len, moving))
            per_atom = (found.energies, found.forces, found.stresses)
            rows = zip(found.energy, found.stress, *(x.split(sizes) for x in per_atom), strict=True)
        else:
            each = [
                s.mean([a], [c], **wanted) for s, a, c in zip(single, given, fields, strict=True)
            ]
            rows = ((p.energy[0], p.stress[0], p.energies, p.forces, p.stresses) for p in each)
        for atoms, field, row in zip(moving, fields, rows, strict=True):
            energy, stress, energies, forces, stresses = row
            other = atoms.copy()
            other.calc = SIKFFCalculator(model, device="cpu", electric_field=field.field)
            assert abs(energy - other.get_potential_energy()) < LIMITS.parity * 1e4
            assert np.abs(energies.numpy() - other.get_potential_energies()).max() < 1e-9
            assert np.abs(forces.numpy() - other.get_forces()).max() < LIMITS.parity
            if atoms.cell.rank < 3:
                assert torch.isnan(stress).all() and torch.isnan(stresses).all()
                continue
            expected = other.get_stress(voigt=False)
            assert np.abs(expected).max() > 1e-6
            assert np.abs(stress.numpy() - expected).max() < LIMITS.parity
            expected = other.get_stresses(voigt=False)
            assert np.abs(stresses.numpy() - expected).max() < LIMITS.parity


def test_models_of_many_elements_are_cut_down_to_those_at_hand() -> None:
    """To all so far, and with the same results; unknown elements are refused as ever."""
    few = force_field()
    others = [e for e in chemical_symbols[1:31] if e not in few.elements]
    many = change_elements(few, [*others, *few.elements], dict.fromkeys(others, "C"))
    made = evaluator(many, many)
    calls = []
    for n, atoms in enumerate([ethanol(), ethanol(1), slab(), ethanol(2)]):
        expected = few(graph_of(few, atoms))
        for found in made.evaluate([arrays(atoms)], [Conditions()]):
            torch.testing.assert_close(found.forces, expected.forces, rtol=0, atol=1e-9)
            torch.testing.assert_close(found.energies, expected.energies, rtol=1e-12, atol=0)
        calls.append(made.evaluators[0])
        assert made.rebuilds == [1, 1, 2, 3][n]
    assert [len(call.model.elements) for call in calls] == [3, 3, 4, 4]
    assert calls[0] is calls[1] and calls[2] is calls[3]
    with pytest.raises(ValueError, match=r"holds Xe, .*not know .*He, .*, Al"):
        made.evaluate([arrays(ase.Atoms("HXe", [[0, 0, 0], [0, 0, 2]]))], [Conditions()])
    assert [len(model.elements) for model in made.models] == [30, 30]


def test_every_structure_has_a_list_of_its_own() -> None:
    """Others that move do not make its neighbours be searched, and unchanged tensors stay."""
    several = evaluator(skin=0.5)
    moving = [arrays(atoms) for atoms in structures()[:2]]
    several.mean(moving, [FREE] * 2)
    first = several.rebuilds
    assert first == 2
    moving[0].positions[0] += 0.4
    several.mean(moving, [FREE] * 2)
    assert several.rebuilds == 3
    (lists,) = several.neighbour_lists.values()
    before = lists.graph(moving, [FREE] * 2)
    moving[1].positions[0] += 1e-3
    after = lists.graph(moving, [FREE] * 2)
    assert after.positions is not before.positions
    for name in ("species", "cell", "edge_index", "shifts", "batch", "field", "charge"):
        assert getattr(after, name) is getattr(before, name), name


def test_batches_of_other_sizes_and_orders_are_right() -> None:
    several = evaluator(replay_after=1)
    all_of_them = [arrays(atoms) for atoms in structures()]
    alone = [evaluator().mean([each], [FREE]) for each in all_of_them]
    for order in ([0, 1, 2], [2, 1, 0], [3, 4], [0], [4, 0, 3, 1, 2], [4, 0, 3, 1, 2]):
        found = several.mean([all_of_them[n] for n in order], [FREE] * len(order))
        assert (found.energy - torch.cat([alone[n].energy for n in order])).abs().max() < 1e-12
        error = found.forces - torch.cat([alone[n].forces for n in order])
        assert error.abs().max() < LIMITS.parity


def test_replayed_batches_equal_those_of_the_model() -> None:
    """Also when edges, cell and conditions of one structure change."""
    model = force_field("C_inf_v", environment={"field": True}).float()
    replayed, eager = evaluator(model, replay_after=0), evaluator(model, replay_after=None)
    moving = [arrays(ethanol(seed)) for seed in range(3)]
    fields = [FREE] * 3
    for step in range(4):
        moving[step % 3].positions[0] += 0.3
        fields[step % 3] = Conditions((0.0, 0.0, 0.1 * step))
        found, expected = (each.mean(moving, fields) for each in (replayed, eager))
        assert (found.energy - expected.energy).abs().max() < 1e-5 * expected.energy.abs().max()
        assert (found.forces - expected.forces).abs().max() < 1e-4
    assert replayed.evaluators[0].static.compilations >= 1


def test_an_error_names_the_structure_of_a_batch() -> None:
    moving = [arrays(atoms) for atoms in structures()[:3]]
    moving[1].positions[1] = moving[1].positions[0] + 0.01
    with pytest.raises(ValueError, match=r"structure 1 of 3: atoms 0 \(Cu\) and 1 \(Cu\) are"):
        evaluator().mean(moving, [FREE] * 3)
    with pytest.raises(ValueError, match="cannot batch an empty list"):
        evaluator().mean([], [])


def test_nan_in_one_structure_stops_a_batch() -> None:
    several = evaluator()
    with torch.no_grad():
        several.models[0].charges[0] = torch.nan  # of hydrogen
    several.mean([arrays(structures()[0])] * 2, [FREE] * 2, stress=True)
    with pytest.raises(CalculationFailed, match="NaN or infinity in energy, energies, forces"):
        several.mean([arrays(structures()[0]), arrays(structures()[3])], [FREE] * 2)


def test_undefined_stress_is_nan_in_the_structures_that_have_a_surface() -> None:
    options = {"environment": {"plane_origin": (0, 0, -5.0)}}
    several = evaluator(force_field("C_inf_v", **options))
    conditions = [FREE, Conditions(surface="vacuum")]
    found = several.mean([arrays(slab())] * 2, conditions, stress=True, atomic_stress=True)
    hidden = torch.zeros(3, 3, dtype=torch.bool)
    hidden[2], hidden[:, 2] = True, True
    assert torch.equal(found.stress[0].isnan(), hidden)
    assert not found.stress[1].isnan().any()
    n = len(slab())
    assert torch.equal(found.stresses[:n].isnan(), hidden.expand(n, 3, 3))
    assert not found.stresses[n:].isnan().any()


def test_a_committee_gives_a_prediction_of_each_model() -> None:
    models = [PairModel().double(), PairModel(cutoff=3.1).double()]
    several = evaluator(*models)
    given = [arrays(atoms) for atoms in structures()[:2]]
    found = several.evaluate(given, [FREE] * 2, stress=True, atomic_stress=True)
    mean = several.mean(given, [FREE] * 2, stress=True, atomic_stress=True)
    for model, prediction in zip(models, found, strict=True):
        alone = evaluator(model).mean(given, [FREE] * 2)
        assert (prediction.energy - alone.energy).abs().max() < LIMITS.parity
    for name in ("energy", "forces", "stress", "stresses"):
        expected = torch.stack([getattr(p, name) for p in found]).mean(0)
        assert (getattr(mean, name) - expected).abs().max() < LIMITS.parity, name


def test_a_periodic_direction_through_a_plane_is_open_for_arrays_too() -> None:
    model = force_field("C_inf_v", environment={"plane_origin": (0, 0, -5.0)})
    periodic = slab()
    periodic.pbc = True
    with pytest.warns(UserWarning, match="leads through the plane") as warned:
        found = evaluator(model).mean([arrays(periodic), arrays(slab())], [FREE] * 2)
    assert len(warned) == 1
    assert abs(found.energy[0] - found.energy[1]) < LIMITS.parity
    assert periodic.pbc.all()


@pytest.mark.parametrize("shape", ["positions", "numbers", "cell", "kind"])
def test_arrays_of_other_shapes_raise(shape: str) -> None:
    given = {"positions": np.zeros((2, 3)), "numbers": [1, 1], "cell": np.eye(3)}
    wrong = {"positions": np.zeros((3, 2)), "numbers": [1], "cell": np.ones(3)}
    changed = given | ({"numbers": [1.0, 1.5]} if shape == "kind" else {shape: wrong[shape]})
    with pytest.raises(ValueError, match="positions, numbers and cell have the shapes"):
        StructureArrays.of(**changed)


def test_arrays_are_converted() -> None:
    made = StructureArrays.of(np.zeros((1, 3), np.float32), [1], pbc=(1, 0, True))
    assert made.positions.dtype == np.float64
    assert made.pbc.tolist() == [True, False, True]
    assert not made.cell.any()


def test_atomic_stresses_are_those_of_ase() -> None:
    """[N, 6]; they sum to the stress and are cached, alone and with the dipole."""
    atoms = structures()[0]
    atoms.calc = SIKFFCalculator(PairModel().double(), device="cpu")
    atoms.info["electric_field"] = [0.0, 0.1, 0.0]
    stresses = atoms.get_stresses()
    assert stresses.shape == (len(atoms), 6)
    assert np.abs(stresses.sum(axis=0) - atoms.get_stress()).max() < 1e-12
    for name in ("stresses", "stress", "forces", "energies"):
        assert atoms.calc.get_property(name, atoms, allow_calculation=False) is not None
    both = atoms.copy()
    both.calc = SIKFFCalculator(PairModel().double(), device="cpu")
    found = both.get_properties(["stresses", "dipole"])
    assert np.abs(found["stresses"] - stresses).max() < LIMITS.parity
    assert np.abs(found["dipole"] - atoms.get_dipole_moment()).max() < LIMITS.parity
    atoms.rattle(0.1, seed=5)
    assert np.abs(atoms.get_stresses() - stresses).max() > 1e-6


def test_atomic_stresses_without_a_volume_are_not_implemented() -> None:
    atoms = structures()[3]
    atoms.calc = SIKFFCalculator(PairModel().double(), device="cpu")
    with pytest.raises(PropertyNotImplementedError, match="stress needs a cell with a volume; got"):
        atoms.get_stresses()


class ThreadCounts(TorchDispatchMode):
    """Records with how many threads operations of torch run."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
        self.seen.add(torch.get_num_threads())
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("repeats", [2, 4])
def test_few_atoms_are_evaluated_on_one_thread(repeats: int) -> None:
    atoms = bulk("Al") * (repeats, repeats, repeats)
    atoms.calc = SIKFFCalculator(force_field(), device="cpu")
    with torch_threads(3), ThreadCounts() as counts:
        atoms.get_forces()
        assert torch.get_num_threads() == 3, "as before"
    assert (1 in counts.seen) == (len(atoms) < FEW_ATOMS)
