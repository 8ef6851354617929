"""Energies, forces and stress of any model, against finite differences."""

import dataclasses

import ase
import numpy as np
import pytest
import torch

from force_fields import elements_of, ethanol, force_field, moved, predict, slope
from force_fields import graph_of as model_graph
from pair_model import PairModel, structures
from sikff.forcefield import EnergyModel, Prediction
from sikff.graph import AtomicGraph
from sikff.graph.conditions import Conditions
from tolerances import TOLERANCES, Tolerance

LIMITS = TOLERANCES[torch.float64]
STEP = 1e-5


@pytest.fixture
def model() -> PairModel:
    return PairModel().double().eval()


def graph_of(atoms: ase.Atoms, model: PairModel, dtype: torch.dtype = torch.float64) -> AtomicGraph:
    return AtomicGraph.from_atoms(
        atoms,
        model.cutoff,
        model.elements,
        dtype=dtype,
        conditions=Conditions((0.1, 0.2, -0.3)),
    )


def energy(atoms: ase.Atoms, model: PairModel) -> float:
    return model(graph_of(atoms, model), forces=False).energy.item()


@pytest.mark.parametrize("atoms", structures(), ids=str)
def test_forces_are_minus_the_gradient_of_the_energy(atoms: ase.Atoms, model: PairModel) -> None:
    forces = model(graph_of(atoms, model)).forces
    assert forces.shape == (len(atoms), 3)
    for i in range(len(atoms)):
        for k in range(3):
            ends = []
            for step in (STEP, -STEP):
                moved = atoms.copy()
                moved.positions[i, k] += step
                ends.append(energy(moved, model))
            assert abs(forces[i, k].item() + (ends[0] - ends[1]) / (2 * STEP)) < LIMITS.forces_fd


@pytest.mark.parametrize("atoms", [structures()[0], structures()[1]], ids=["crystal", "slab"])
def test_stress_is_the_derivative_under_strain(atoms: ase.Atoms, model: PairModel) -> None:
    atoms.set_cell(atoms.cell[[1, 0, 2]])  # left-handed: the volume stays positive
    stress = model(graph_of(atoms, model), stress=True).stress[0].numpy()
    assert np.array_equal(stress, stress.T)
    for a in range(3):
        for b in range(3):
            ends = []
            for step in (STEP, -STEP):
                strain = np.zeros((3, 3))
                strain[a, b] += step / 2
                strain[b, a] += step / 2
                moved = atoms.copy()
                moved.set_cell(atoms.cell @ (np.eye(3) + strain), scale_atoms=False)
                moved.positions += atoms.positions @ strain
                ends.append(energy(moved, model))
            slope = (ends[0] - ends[1]) / (2 * STEP) / atoms.get_volume()
            assert abs(stress[a, b] - slope) < LIMITS.stress_fd


def test_a_compressed_repulsive_crystal_has_negative_stress(model: PairModel) -> None:
    graph = AtomicGraph.from_atoms(structures()[0], model.cutoff, model.elements)
    assert model(graph, stress=True).stress[0].trace() < 0


def test_batch_equals_singles(dtype: torch.dtype, tolerance: Tolerance) -> None:
    model = PairModel().to(dtype).eval()
    graphs = [graph_of(atoms, model, dtype) for atoms in structures()]
    batch = model(AtomicGraph.batch_of(graphs))
    singles = [model(graph) for graph in graphs]
    for name in ("energy", "energies", "forces"):
        together = torch.cat([getattr(single, name) for single in singles])
        limit = {"rtol": tolerance.parity, "atol": tolerance.parity}
        torch.testing.assert_close(getattr(batch, name), together, **limit)
    assert batch.energy.dtype == batch.energies.dtype == torch.float64
    assert batch.forces.dtype == dtype


def test_stress_of_a_batch_equals_singles(model: PairModel) -> None:
    graphs = [graph_of(atoms, model) for atoms in structures()[:2]]
    batch = model(AtomicGraph.batch_of(graphs), forces=False, stress=True)
    assert batch.forces is None
    for together, graph in zip(batch.stress, graphs, strict=True):
        alone = model(graph, stress=True).stress[0]
        torch.testing.assert_close(together, alone, rtol=0, atol=LIMITS.parity)


def test_no_edges_means_zero_forces(model: PairModel) -> None:
    atoms = ase.Atoms("HCu", positions=[[0, 0, 0], [9, 0, 0]], cell=[20, 20, 20])
    graph = AtomicGraph.from_atoms(atoms, model.cutoff, model.elements)
    prediction = model(graph, stress=True)
    assert prediction.energy.tolist() == [0.0]
    assert not prediction.forces.any()
    assert not prediction.stress.any()


def test_energies_without_a_gradient_raise_unless_there_are_no_edges(model: PairModel) -> None:
    graph = graph_of(structures()[0], model)
    constant = torch.ones(4, dtype=torch.float64)
    for energies in (constant, constant * model.weight.sum()):
        model.atomic_energies = lambda graph, energies=energies: energies[: graph.n_atoms]
        for options in ({}, {"stress": True}, {"forces": False, "dipole": True}):
            with pytest.raises(RuntimeError, match="atomic_energies to be differentiable"):
                model(graph, **options)
        with pytest.raises(RuntimeError, match="atomic_energies to be differentiable"):
            model.polarizability(graph)
        lone = graph_of(ase.Atoms("Cu"), model)
        prediction = model(lone, stress=True, dipole=True)
        assert not prediction.forces.any()
        assert not prediction.dipole.any()
        assert not model.polarizability(lone).any()


MODES = {
    "inference mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
}


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_derivatives_inside_inference_mode_and_autocast_equal_those_outside(
    mode: str, train: bool, frozen: bool
) -> None:
    """Of graphs that were made there too; and a model first used there works outside later."""
    settings = {"environment": {"field": True}}
    model = force_field("C_inf_v", **settings).float().train(train)
    other = force_field("C_inf_v", **settings).float().train(train)
    if frozen:
        model.freeze(), other.freeze()
    atoms = structures_with_cell()

    def results(model: EnergyModel) -> list[torch.Tensor]:
        graph = model_graph(model, atoms, field=(0, 0, 0.3))
        found = model(graph, stress=True, dipole=True)
        return [*found, model(graph, forces=False).energies, model.polarizability(graph)]

    expected = results(other)
    with MODES[mode]():
        inside = results(model)
    for found in (inside, results(model)):
        for one, two in zip(found, expected, strict=True):
            assert torch.equal(one, two)
            assert two.abs().max() > 1e-4


@pytest.mark.parametrize("forces", [False, True])
def test_graphs_made_in_inference_mode_can_be_trained_on(forces: bool) -> None:
    model = force_field().train()
    outside = model_graph(model, ethanol()).to(dtype=torch.float32)
    with torch.inference_mode():
        inside = dataclasses.replace(
            outside, **{name: tensor.clone() for name, tensor in vars(outside).items()}
        )
    found = []
    for graph in (outside, inside):
        model.zero_grad()
        model(graph, forces=forces).energy.sum().backward()
        found.append(model.network.embedding.grad)
    assert torch.equal(*found) and found[0].any()


def structures_with_cell() -> ase.Atoms:
    atoms = ethanol()
    atoms.set_cell([9, 9, 9])
    return atoms


def test_energy_sums_in_float64() -> None:
    """A large constant per atom must not eat the digits of the small differences."""
    model = PairModel()
    graph = graph_of(structures()[0], model, torch.float32)
    plain = model(graph).energy
    inner = model.atomic_energies
    model.atomic_energies = lambda graph: inner(graph) - 50_000.0
    shifted = model(graph).energy + 50_000.0 * graph.n_atoms
    torch.testing.assert_close(shifted, plain, rtol=0, atol=1e3 * LIMITS.parity)


def test_energies_are_float64_whatever_the_subclass_returns() -> None:
    model = PairModel()
    inner = model.atomic_energies
    model.atomic_energies = lambda graph: inner(graph).float()
    for forces in (False, True):
        prediction = model(graph_of(structures()[0], model), forces)
        assert prediction.energy.dtype == prediction.energies.dtype == torch.float64


def test_without_a_volume_there_is_no_stress(model: PairModel) -> None:
    """In a batch of crystals and molecules too; a loss of the others has gradients."""
    graphs = [graph_of(atoms, model) for atoms in structures()]
    solid = torch.tensor([bool(atoms.cell.rank == 3) for atoms in structures()])
    assert 0 < solid.sum() < len(solid)
    together = model.train()(AtomicGraph.batch_of(graphs), stress=np.bool_(True))
    assert together.stress[~solid].isnan().all()
    for graph, stress, has_volume in zip(graphs, together.stress, solid, strict=True):
        if has_volume:
            alone = model(graph, stress=True).stress[0]
            torch.testing.assert_close(stress, alone, rtol=0, atol=LIMITS.parity)
    loss = torch.where(solid[:, None, None], together.stress, 0.0).square().sum()
    slopes = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    found = [slope for slope in slopes if slope is not None]
    assert all(slope.isfinite().all() for slope in found)
    assert max(slope.abs().max() for slope in found) > 0


def test_training_mode_can_be_differentiated_again(model: PairModel) -> None:
    graph = graph_of(structures()[0], model)
    prediction = model.train()(graph, stress=True)
    (prediction.forces.square().sum() + prediction.stress.square().sum()).backward()
    assert model.weight.grad is not None
    assert model.weight.grad.abs().max() > 0


def test_evaluation_mode_leaves_no_graph(model: PairModel) -> None:
    graph = graph_of(structures()[0], model)
    with torch.no_grad():
        prediction: Prediction = model(graph, stress=True, dipole=True)
    assert not any(tensor.requires_grad for tensor in prediction)
    energies = model.eval()(graph, forces=False)
    assert model.weight.requires_grad and not energies.energy.requires_grad
    assert model.train()(graph, forces=False).energy.requires_grad
    assert not graph.positions.requires_grad
    assert not graph.cell.requires_grad


@pytest.mark.parametrize("group", ["O(3)", "C_inf_v", "D_inf_h", "C1"])
@pytest.mark.parametrize("strength", [0.0, 0.2])
def test_dipole_and_polarizability_are_derivatives_in_the_field(
    group: str, strength: float
) -> None:
    model = force_field(group, environment={"field": True})
    along = model.field_directions
    assert len(along) == (1 if group == "C_inf_v" else 3)
    atoms, start = ethanol(), strength * along.sum(0)
    found = predict(model, atoms, dipole=True, field=tuple(start))
    alpha = model.polarizability(model_graph(model, atoms, field=tuple(start)))
    assert found.dipole.shape == (1, 3)
    assert alpha.shape == (1, 3, 3)
    dipole, alpha = found.dipole[0].numpy(), alpha[0].numpy()

    def energy(field: np.ndarray) -> float:
        return float(predict(model, atoms, field=tuple(field)).energy)

    def moment(field: np.ndarray) -> np.ndarray:
        return predict(model, atoms, dipole=True, field=tuple(field)).dipole[0].numpy()

    for n in along:
        assert abs(dipole @ n) > 1e-4
        assert abs(dipole @ n + slope(lambda x, n=n: energy(start + x * n))) < LIMITS.forces_fd
        change = [slope(lambda x, n=n, m=m: moment(start + x * n) @ m) for m in along]
        assert np.abs(alpha @ n).max() > 1e-4
        assert np.abs(along @ alpha @ n - change).max() < LIMITS.forces_fd
    assert np.abs(alpha - alpha.T).max() < LIMITS.gradient
    across = np.eye(3) - along.T @ along
    assert np.abs(across @ dipole).max(initial=0) < LIMITS.gradient
    assert np.abs(across @ alpha).max(initial=0) < LIMITS.gradient


def test_a_dipole_turns_with_the_molecule() -> None:
    model = force_field("O(3)", environment={"field": True})
    atoms = ethanol()
    dipole = predict(model, atoms, dipole=True).dipole[0].numpy()
    assert np.linalg.norm(dipole) > 1e-3
    for g in elements_of(model.group):
        turned = predict(model, moved(atoms, g), dipole=True).dipole[0].numpy()
        assert np.abs(turned - g @ dipole).max() < LIMITS.gradient
        assert np.abs(turned - dipole).max() > 1e-3


def test_a_dipole_is_computed_only_if_asked(model: PairModel) -> None:
    graph = graph_of(structures()[3], model)
    assert model(graph).dipole is None
    only = model(graph, forces=False, dipole=True)
    assert only.forces is None
    expected = (model.charges[graph.species, None] * graph.positions).sum(0)
    assert (only.dipole[0] - expected).abs().max() < LIMITS.gradient
    assert not model.polarizability(graph).any()  # linear in the field
    blind = force_field()
    for ask in (lambda g: blind(g, dipole=True), blind.polarizability):
        with pytest.raises(ValueError, match="in an electric field, which the model does not read"):
            ask(model_graph(blind, ethanol()))
