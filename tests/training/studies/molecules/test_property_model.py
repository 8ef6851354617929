"""The network: invariant under its group and no more, batches, what kernels see."""

from dataclasses import replace

import pytest
import torch

from sikff.groups import SymmetryGroup
from sikff.training.studies.model_size import count_weights
from sikff.training.studies.molecules.molecule_graphs import MoleculeGraphs, graphs_of
from sikff.training.studies.molecules.property_model import (
    VARIANTS,
    PropertyModel,
    PropertySettings,
    build,
)
from sikff.training.studies.molecules.qm9_dataset import Dataset
from sikff.training.studies.samples import predict
from symmetry_cases import elements, outside, relative_error, seeded
from tolerances import TOLERANCES

TOLERANCE = TOLERANCES[torch.float64]
OURS = [name for name, variant in VARIANTS.items() if variant.kernel != "escnn"]
SMALL = PropertySettings(channels=4, convolutions=3, kernel_fields=3)


@pytest.fixture(scope="module")
def graphs(stand_in: Dataset) -> MoleculeGraphs:
    return graphs_of(stand_in.molecules[:10])


def small(graphs: MoleculeGraphs, **settings: object) -> PropertyModel:
    model = build(SMALL.with_changes(**settings), graphs).double()
    return seeded(model).requires_grad_(False)


@pytest.mark.parametrize("variant", OURS)
@pytest.mark.parametrize("group", ["O(3)", "SO(3)", "SO(2)", "C2v"])
def test_invariance(graphs: MoleculeGraphs, variant: str, group: str) -> None:
    """Under its group, and not under a larger one."""
    order = 2 if group == "SO(3)" else 1
    model = small(graphs, variant=variant, group=group, order=order)
    expected = model(graphs)
    for g in elements(model.group):
        assert relative_error(model(graphs.rotated(g)), expected) < TOLERANCE.invariance
    larger = SymmetryGroup("O(3)")
    others = torch.diag(torch.tensor([1.0, 1.0, 1.2])).double()[None]
    for g in others if model.group == larger else outside(larger, model.group):
        assert relative_error(model(graphs.rotated(g)), expected) > 1e-6


def test_translations_and_the_order_of_atoms(stand_in: Dataset, graphs: MoleculeGraphs) -> None:
    model = small(graphs)
    expected = model(graphs)
    moved = replace(graphs, positions=graphs.positions + torch.tensor([1.0, -2.0, 3.0]))
    assert relative_error(model(moved), expected) < TOLERANCE.invariance
    reversed_ = [
        m._replace(
            numbers=m.numbers[::-1].copy(),
            positions=m.positions[::-1].copy(),
            bonds=len(m.numbers) - 1 - m.bonds,
        )
        for m in stand_in.molecules[:10]
    ]
    assert relative_error(model(graphs_of(reversed_)), expected) < TOLERANCE.invariance


@pytest.mark.parametrize("target", ["homo", "alpha"])
def test_a_batch_gives_the_predictions_of_single_molecules(
    graphs: MoleculeGraphs, target: str
) -> None:
    model = small(graphs, target=target)
    singles = [model(graphs.select(torch.tensor([k]))) for k in range(10)]
    assert relative_error(torch.cat(singles), model(graphs)) < TOLERANCE.parity
    assert torch.equal(
        predict(model, graphs, 4),
        torch.cat([model(graphs.select(k)) for k in torch.arange(10).split(4)]),
    )


def test_only_kernels_with_bonds_depend_on_bond_types(graphs: MoleculeGraphs) -> None:
    """Bond types matter where kernels are told, and nowhere else."""
    other = replace(graphs, bonds=graphs.bonds % 3 + 1)
    for variant in OURS:
        model = small(graphs, variant=variant)
        changed = relative_error(model(other), model(graphs))
        assert changed > 1e-3 if VARIANTS[variant].bonds else changed == 0


def test_sums_grow_with_the_molecule(graphs: MoleculeGraphs) -> None:
    """The same features on twice as many atoms: means do not change, and sums do."""
    two = replace(
        graphs.select(torch.tensor([0, 0])),
        n_atoms=graphs.n_atoms[:1] * 2,
        n_edges=graphs.n_edges[:1] * 2,
    )
    one = graphs.select(torch.tensor([0]))
    mean, total = small(graphs), small(graphs, target="alpha")
    assert relative_error(mean(two), mean(one)) < TOLERANCE.parity
    assert relative_error(total(two), total(one)) > 1e-3


def test_a_radius_graph(stand_in: Dataset) -> None:
    """The kernel ends at the cutoff: an atom that crosses it changes nothing."""
    molecules = stand_in.molecules[:2]
    near, far = (graphs_of(molecules, cutoff) for cutoff in (3.0, 4.0))
    assert int(far.n_edges.sum()) > int(near.n_edges.sum())
    model = small(near, graph="radius", cutoff=3.0)
    assert relative_error(model(far), model(near)) < TOLERANCE.parity


def test_variants_are_equally_large(stand_in: Dataset) -> None:
    graphs = graphs_of(stand_in.molecules[:50])
    sizes = [count_weights(build(PropertySettings(variant=variant), graphs)) for variant in OURS]
    assert max(sizes) < 1.2 * min(sizes)


def test_molecules_without_edges_have_finite_predictions(stand_in: Dataset) -> None:
    """Without any edges, the network of each atom is all there is."""
    graphs = graphs_of(stand_in.molecules[:4], cutoff=0.5)
    assert int(graphs.n_edges.sum()) == 0
    said = small(graphs, graph="radius", cutoff=0.5)(graphs)
    assert said.isfinite().all() and float(said.std()) > 1e-3
