"""Losses and metrics, against numbers worked out by hand."""

import ase
import pytest
import torch

from sikff.forcefield import Prediction
from sikff.graph import AtomicGraph
from sikff.training.config import LossConfig
from sikff.training.data.batches import Targets
from sikff.training.evaluation.metrics import Errors, Metrics, errors
from sikff.training.fitting.losses import loss
from tolerances import TOLERANCES

LIMIT = TOLERANCES[torch.float64].parity


@pytest.fixture
def graph() -> AtomicGraph:
    apart = [[2.0 * n, 0.0, 0.0] for n in range(4)]
    graphs = [
        AtomicGraph.from_atoms(ase.Atoms(s, positions=apart[:n]), 1.0, ("H", "O"))
        for s, n in (("H", 1), ("OH2O", 4))
    ]
    return AtomicGraph.batch_of(graphs)


TARGETS = Targets(torch.full((2,), 7.0), torch.ones(5, 3))


@pytest.fixture
def found(graph: AtomicGraph) -> Errors:
    """Energy errors 0.1 and -0.2 eV/atom; force errors 0.3 on every O, in one component of H."""
    forces = torch.zeros(5, 3, dtype=torch.float64)
    forces[graph.species == 1] = 0.3
    forces[0, 0] = -0.3
    energy = torch.tensor([0.1, -0.8], dtype=torch.float64)
    prediction = Prediction(energy + 7, torch.zeros(5), forces + 1, None)
    return errors(prediction, TARGETS, graph)


def test_errors_are_per_atom(found: Errors) -> None:
    expected = torch.tensor([0.1, -0.2], dtype=torch.float64)
    torch.testing.assert_close(found.energy, expected, rtol=0, atol=LIMIT)
    assert found.stress is None


def test_losses(found: Errors) -> None:
    square = LossConfig(energy=2.0, forces=3.0, kind="mse")
    expected = 2 * (0.01 + 0.04) / 2 + 3 * 0.09 * 7 / 15
    assert loss(found, square, 2, 5).item() == pytest.approx(expected, abs=LIMIT)
    huber = LossConfig(energy=1.0, forces=0.0, delta=0.15)
    expected = (0.5 * 0.01 / 0.15 + (0.2 - 0.075)) / 2
    assert loss(found, huber, 2, 5).item() == pytest.approx(expected, abs=LIMIT)


def test_the_validation_loss_does_not_depend_on_batches(found: Errors, graph: AtomicGraph) -> None:
    config = LossConfig()
    whole = loss(found, config, 2, 5)
    parts = [
        loss(Errors(found.energy[k : k + 1], found.forces[graph.batch == k], None), config, 2, 5)
        for k in range(2)
    ]
    assert abs(sum(parts) - whole) < LIMIT < abs(parts[0])


def test_metrics_do_not_depend_on_batches(found: Errors, graph: AtomicGraph) -> None:
    metrics = Metrics(("H", "O"))
    metrics.update(found, TARGETS, graph)
    once = metrics.results()
    metrics.update(found, TARGETS, graph)
    assert metrics.results() == pytest.approx(once)
    assert once == pytest.approx(
        {
            "energy_mae_mev_per_atom": 150,
            "energy_rmse_mev_per_atom": 1000 * 0.025**0.5,
            "force_mae_mev_per_a": 300 * 7 / 15,
            "force_rmse_mev_per_a": 300 * (7 / 15) ** 0.5,
        },
        abs=LIMIT * 1000,
    )
    assert metrics.force_mae_by_element() == pytest.approx({"H": 300 / 9, "O": 300})


def test_missing_labels_do_not_count(graph: AtomicGraph) -> None:
    """The second structure has neither forces nor a stress, and no stress can be said of it."""
    stress = torch.full((2, 3, 3), 0.1, dtype=torch.float64, requires_grad=True)
    forces = torch.full((5, 3), 0.3, dtype=torch.float64, requires_grad=True)
    absent = torch.tensor([0.0, torch.nan])
    targets = Targets(
        torch.full((2,), 7.0), absent[graph.batch][:, None].expand(5, 3), absent[:, None, None] + 0
    )
    targets = targets._replace(stress=targets.stress.expand(2, 3, 3))
    predicted = torch.where(absent.isnan()[:, None, None], torch.nan, stress)
    prediction = Prediction(torch.full((2,), 7.5), torch.zeros(5), forces, predicted)
    found = errors(prediction, targets, graph)
    config = LossConfig(energy=0.0, forces=1.0, stress=1.0, kind="mse")
    value = loss(found, config, 2, 5)
    assert value.item() == pytest.approx(0.09 / 5 + 0.01 / 2, abs=LIMIT)
    gradients = torch.autograd.grad(value, (forces, stress))
    for gradient in gradients:
        assert gradient[0].min() > 0 and not gradient[1:].any()
    metrics = Metrics(("H", "O"))
    metrics.update(found, targets, graph)
    metrics.update(found, targets, graph, torch.tensor([False, True]))
    assert metrics.sums[:3, 2].tolist() == [3, 3, 9]
    assert metrics.results()["force_mae_mev_per_a"] == pytest.approx(300)
    assert metrics.results()["stress_mae_mev_per_a3"] == pytest.approx(100)
    assert metrics.force_mae_by_element() == {"H": pytest.approx(300)}
    wrong = prediction._replace(forces=forces + torch.nan)
    assert not loss(errors(wrong, targets, graph), config, 2, 5).isfinite()


@pytest.mark.parametrize("kind", ["mse", "huber"])
def test_structures_may_count_more(found: Errors, graph: AtomicGraph, kind: str) -> None:
    """The weighted loss is the weighted sum of those of the structures."""
    stress = torch.randn(2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = found._replace(stress=stress)
    config = LossConfig(energy=2.0, forces=3.0, stress=1.0, kind=kind, delta=0.15)
    alone = []
    for k in range(2):
        here = torch.tensor([k])
        parts = (found.energy[here], found.forces[graph.batch == k], found.stress[here])
        alone.append(loss(Errors(*parts), config, 2, 5).item())
    weights = torch.tensor([0.5, 4.0], dtype=torch.float64)
    whole = loss(found, config, 2, 5, weights, graph.batch).item()
    assert whole == pytest.approx(0.5 * alone[0] + 4 * alone[1], abs=LIMIT)
    assert loss(found, config, 2, 5).item() == pytest.approx(sum(alone), abs=LIMIT)
