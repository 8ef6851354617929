"""The classifier: what it cannot see, what it can, and how it makes clouds coarser."""

from dataclasses import replace

import pytest
import torch

from sikff.groups import SymmetryGroup
from sikff.training.studies.model_size import count_weights
from sikff.training.studies.shapes.point_clouds import Clouds, stand_in
from sikff.training.studies.shapes.shape_network import (
    ShapeNetwork,
    build,
    coarser_graph,
    spacings_of,
)
from sikff.training.studies.shapes.shapes_study import GROUPS, ShapesSettings
from symmetry_cases import elements, outside, randn, relative_error
from tolerances import TOLERANCES

TOLERANCE = TOLERANCES[torch.float64]
FLIP = torch.tensor([1.0, -1.0, -1.0]).double()
CHOICES = [(group, "implicit") for group in (*GROUPS, "C4v")] + [("SO(2)", "analytic")]


@pytest.fixture(scope="module")
def clouds() -> Clouds:
    return stand_in(1, 32, seed=0).clouds.inputs


def made(group: str, kernel: str = "implicit", seed: int = 0) -> ShapeNetwork:
    model = build(
        SymmetryGroup(group),
        12,
        spacings=(0.5, 0.8),
        n_neighbours=6,
        kernel=kernel,
        n_parameters=8000,
        seed=seed,
    )
    return model.double().eval().requires_grad_(False)


@pytest.mark.parametrize(("group", "kernel"), CHOICES)
def test_invariance(group: str, kernel: str, clouds: Clouds) -> None:
    """Under its group, and not under a larger one."""
    model = made(group, kernel)
    expected = model(clouds)
    assert expected.shape == (12, 12)
    for g in elements(model.group):
        assert relative_error(model(clouds.rotated(g)), expected) < TOLERANCE.invariance
    if group == "O(3)":
        others = torch.diag(torch.tensor([1.0, 1.0, 2.0]).double())[None]
    else:
        others = outside(SymmetryGroup("O(3)"), model.group)
    for g in others:
        assert relative_error(model(clouds.rotated(g)), expected) > 1e-4


@pytest.mark.parametrize(("group", "sees"), [("SO(2)", True), ("D_inf", False), ("C1", True)])
def test_only_groups_without_the_flip_distinguish_flipped_clouds(
    group: str, sees: bool, clouds: Clouds
) -> None:
    model = made(group)
    error = relative_error(model(clouds.rotated(torch.diag(FLIP))), model(clouds))
    assert error > 1e-3 if sees else error < TOLERANCE.invariance


def test_scores_depend_on_normals_and_not_on_the_position(clouds: Clouds) -> None:
    model = made("SO(2)")
    expected = model(clouds)
    shift = torch.tensor([1.0, 2.0, 3.0]).double()
    assert relative_error(model(replace(clouds, points=clouds.points + shift)), expected) < (
        TOLERANCE.invariance
    )
    assert relative_error(model(replace(clouds, normals=-clouds.normals)), expected) > 1e-3


def test_a_batch_gives_the_scores_of_single_clouds(clouds: Clouds) -> None:
    model = made("SO(2)")
    single = [model(clouds.select(torch.tensor([k]))) for k in range(len(clouds))]
    assert relative_error(model(clouds), torch.cat(single)) < TOLERANCE.parity


def test_the_order_of_points_is_random_in_training_only(clouds: Clouds) -> None:
    model = made("SO(2)")
    assert torch.equal(model(clouds), model(clouds))
    model.train()
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        first, second = model(clouds), model(clouds)
        torch.manual_seed(0)
        again = model(clouds)
    assert torch.equal(first, again)
    assert relative_error(first, second) > 1e-3


def test_the_seed_determines_the_weights() -> None:
    first, again, other = (made("SO(2)", seed=seed).state_dict() for seed in (0, 0, 1))
    name = "embed.weight"
    assert torch.equal(first[name], again[name])
    assert not torch.equal(first[name], other[name])


@pytest.mark.parametrize("group", ["SO(2)", "C_inf_h", "O(3)", "C1"])
def test_networks_of_all_groups_have_the_requested_size(group: str) -> None:
    study = ShapesSettings()
    model = build(
        SymmetryGroup(group),
        12,
        spacings=(1.0,) * study.layers,
        n_neighbours=study.n_neighbours,
        kernel=study.kernel,
        n_parameters=study.weights,
        seed=0,
    )
    assert count_weights(model) == pytest.approx(study.weights, rel=0.1)


def test_coarser_graph_joins_the_nearest_points() -> None:
    """Against a search of one point at a time."""
    points = randn(3, 10, 3, seed=0)
    edge_index, kept = coarser_graph(points, 4, 5)
    flat = points.flatten(0, 1)
    assert kept.tolist() == [0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23]
    for receiver, node in enumerate(kept.tolist()):
        cloud = range(node // 10 * 10, node // 10 * 10 + 10)
        by_distance = sorted(cloud, key=lambda other, node=node: (flat[other] - flat[node]).norm())
        found = edge_index[1, edge_index[0] == receiver].tolist()
        assert set(found) == set(by_distance[:5])


def test_spacings_are_mean_distances() -> None:
    """On a line of points at distance 1 that is thinned out by halves."""
    line = torch.arange(64).double()
    order = torch.cat([line[::4], line[2::4], line[1::2]])
    points = torch.stack([order, 0 * order, 0 * order], dim=1)[None]
    found = spacings_of(points, 3, 3)
    ends = torch.tensor([2 / 64, 2 / 32, 2 / 16])  # of which the second neighbour is twice as far
    assert found == pytest.approx((torch.tensor([1.0, 2.0, 4.0]) * (1 + ends)).tolist())
