"""Every model of the study: its symmetry, its size, its linear start."""

import re

import numpy as np
import pytest
import torch

from sikff.field_types import FieldType
from sikff.groups import SymmetryGroup
from sikff.training.studies.model_size import count_weights
from sikff.training.studies.nbody.particle_graphs import ParticleGraphs, displacements, graphs_of
from sikff.training.studies.nbody.particle_models import (
    KINDS,
    N_PARAMETERS,
    Model,
    Standardise,
    build,
)
from sikff.training.studies.nbody.particle_systems import Springs, simulate
from symmetry_cases import elements, outside, randn, relative_error
from tolerances import TOLERANCES

TOLERANCE = TOLERANCES[torch.float64]
AXIS = (1.0, 2.0, 2.0)
CASES = [
    ("sik", "SO(2)"),
    ("sik", "C_inf_v"),
    ("sik", "C4v"),
    ("sik", "O(3)"),
    ("linear", "SO(2)"),
    *((name, "") for name, kind in KINDS.items() if kind.group == "O(3)"),
]


@pytest.fixture(scope="module")
def trajectories() -> object:
    return simulate(Springs(10.0), 24, axis=AXIS, frames=(0, 5))


@pytest.fixture(scope="module")
def graphs(trajectories) -> ParticleGraphs:
    return graphs_of(trajectories, hidden=False)


def started(name: str, group: str, trajectories, **options) -> Model:
    model = build(name, group, axis=AXIS, n_parameters=30_000, **options).double()
    model.start(graphs_of(trajectories, hidden=False), displacements(trajectories))
    for part in (model.single, model.network):
        if part is not None:
            torch.nn.init.ones_(part.amplitude)
    return model.requires_grad_(False)


@pytest.mark.parametrize(("name", "group"), CASES)
def test_equivariance(name: str, group: str, trajectories, graphs: ParticleGraphs) -> None:
    """Under its group, and not under a larger one."""
    model = started(name, group, trajectories)
    expected = model(graphs)
    for g in elements(model.group):
        found = model(graphs.rotated(g, with_axis=model.field))
        assert relative_error(found, expected @ g.T) < TOLERANCE.equivariance
    if name == "o3-field":  # without the axis, O(3) is broken
        others = model.group.sample(3, seed=0)
    elif model.group == SymmetryGroup("O(3)"):
        others = torch.tensor(np.diag([1.0, 1.0, 2.0]))[None]
    else:
        others = outside(SymmetryGroup("O(3)"), model.group)
    for g in others:
        assert relative_error(model(graphs.rotated(g, with_axis=False)), expected @ g.T) > 1e-3


def test_translations_along_the_plane_and_relabelling(trajectories, graphs: ParticleGraphs) -> None:
    model = started("sik", "SO(2)", trajectories)
    expected = model(graphs)
    along, across = torch.tensor(AXIS).double() / 3, torch.tensor([2.0, -2.0, 1.0]).double()
    order = torch.tensor([3, 1, 4, 0, 2])

    def moved(shift: torch.Tensor) -> torch.Tensor:
        return model(
            ParticleGraphs(
                graphs.positions + shift,
                graphs.velocities,
                graphs.scalars,
                graphs.springs,
                graphs.axis,
            )
        )

    assert relative_error(moved(across), expected) < TOLERANCE.invariance
    assert relative_error(moved(along), expected) > 1e-3
    relabelled = ParticleGraphs(
        graphs.positions[:, order],
        graphs.velocities[:, order],
        graphs.scalars[:, order],
        graphs.springs[:, order][:, :, order],
        graphs.axis,
    )
    assert relative_error(model(relabelled), expected[:, order]) < TOLERANCE.invariance


def test_the_height_can_be_left_out(trajectories, graphs: ParticleGraphs) -> None:
    model = started("sik", "SO(2)", trajectories, height=False)
    raised = ParticleGraphs(
        graphs.positions + graphs.axis,
        graphs.velocities,
        graphs.scalars,
        graphs.springs,
        graphs.axis,
    )
    assert relative_error(model(raised), model(graphs)) < TOLERANCE.invariance


@pytest.mark.parametrize(("group", "larger"), [("C5", "SO(2)"), ("C6v", "C_inf_v"), ("Ih", "O(3)")])
def test_groups_with_the_invariants_of_a_larger_group_raise(
    group: str, larger: str, trajectories, graphs: ParticleGraphs, monkeypatch
) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{group} are those of {larger} here")):
        build("sik", group, axis=AXIS)
    monkeypatch.setattr("sikff.training.studies.nbody.particle_models.INVARIANT_DEGREE", 99)
    model = started("sik", group, trajectories)  # made nevertheless
    expected = model(graphs)
    for g in elements(SymmetryGroup(larger, axis=AXIS)):
        found = model(graphs.rotated(g, with_axis=False))
        assert relative_error(found, expected @ g.T) < TOLERANCE.equivariance


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.network])
def test_models_have_the_requested_size(name: str) -> None:
    assert count_weights(build(name)) == pytest.approx(N_PARAMETERS, rel=0.05)
    assert count_weights(build(name, height=False)) == pytest.approx(N_PARAMETERS, rel=0.05)


@pytest.mark.parametrize("group", ["O(3)", "SO(3)", "C_inf_v", "C4v", "C1"])
def test_models_of_all_groups_have_the_requested_size(group: str) -> None:
    assert count_weights(build("sik", group)) == pytest.approx(N_PARAMETERS, rel=0.05)


def test_linear_is_exact_where_springs_are_inputs_and_nothing_clips() -> None:
    """The motion is a power series in the springs: its third power is of the order of 1e-6."""
    train, test = (simulate(Springs(10.0), n, seed=seed) for n, seed in ((200, 0), (50, 1)))
    model = build("linear", "SO(2)").double()
    model.start(graphs_of(train, hidden=False), displacements(train))
    error = model(graphs_of(test, hidden=False)) - displacements(test)
    assert error.square().mean() < 1e-10
    blind = build("linear", "O(3)").double()
    blind.start(graphs_of(train, hidden=False), displacements(train))
    error = blind(graphs_of(test, hidden=False)) - displacements(test)
    assert error.square().mean() > 1e-2


def test_networks_are_initially_zero(trajectories, graphs: ParticleGraphs) -> None:
    model = build("sik", "SO(2)", axis=AXIS).double()
    model.start(graphs, displacements(trajectories))
    assert torch.equal(model(graphs), model.linear(graphs))


def test_standardise_gives_unit_variance_and_is_equivariant() -> None:
    group = SymmetryGroup("C4v", axis=AXIS)
    field_type = FieldType.vector(group, 2) + FieldType.scalar(group, 2)
    x = randn(500, field_type.size, seed=0) * 7 + 3
    x[:, -1] = 5.0
    layer = Standardise(field_type).double()
    layer.measure(x)
    y = layer(x)
    assert float(y[:, -1].abs().max()) < TOLERANCE.algebra
    assert float(y[:, -2].mean().abs()) < TOLERANCE.algebra
    assert float(y[:, -2].square().mean()) == pytest.approx(1.0)
    assert float(y[:, :6].square().mean()) == pytest.approx(1.0)
    for g in elements(group):
        rho = field_type.representation(g)
        assert relative_error(layer(x @ rho.T), y @ rho.T) < TOLERANCE.equivariance


def test_an_unknown_model_raises() -> None:
    with pytest.raises(ValueError, match="unknown model 'gnn'; expected one of sik, o3-field"):
        build("gnn")
