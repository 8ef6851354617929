"""Losses and metrics, against numbers worked out by hand."""

from dataclasses import replace

import ase
import numpy as np
import pytest
import torch

from sikff.forcefield import Prediction
from sikff.graph import AtomicGraph
from sikff.training.config import LossConfig
from sikff.training.data.batches import (
    Batches,
    Sample,
    Sizes,
    Targets,
    Weights,
    collate,
    count_labels,
)
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


SIZES = Sizes(2, 15, 18)  # of two structures with five atoms
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
    assert loss(found, square, SIZES).item() == pytest.approx(expected, abs=LIMIT)
    huber = LossConfig(energy=1.0, forces=0.0, delta=0.15)
    expected = (0.5 * 0.01 / 0.15 + (0.2 - 0.075)) / 2
    assert loss(found, huber, SIZES).item() == pytest.approx(expected, abs=LIMIT)


@pytest.mark.parametrize("name", ["energy", "stress"])
def test_weights_that_are_not_given_rise_as_the_learning_rate_falls(name: str) -> None:
    huber, square = LossConfig(), LossConfig(kind="mse", delta=0.3)
    for rate, weight, delta in (
        (1.0, 1.0, 0.05),
        (0.5, 10**0.5, 5e-5**0.5),
        (0.0, 10.0, 0.001),
    ):
        assert huber.term(name, rate) == pytest.approx((weight, delta))
        assert square.term(name, rate) == pytest.approx((weight**2, 0.3))
    assert huber.term(name) == huber.term(name, 0.0)


def test_weights_that_are_given_stay(found: Errors) -> None:
    """As in configurations of versions without others, which had the same loss."""
    config = LossConfig(energy=2.0, forces=3.0, stress=0.0)
    expected = 2 * (0.1 - 0.025 + 0.2 - 0.025) / 2 + 3 * (0.3 - 0.025) * 7 / 15
    for rate in (0.0, 0.3, 1.0):
        assert loss(found, config, SIZES, rate=rate).item() == pytest.approx(expected, abs=LIMIT)
    energies = found._replace(forces=None)
    rising = [loss(energies, LossConfig(), SIZES, rate=rate).item() for rate in (1.0, 0.5, 0.0)]
    expected = [
        weight * (0.1 + 0.2 - delta) / 2
        for weight, delta in ((1, 0.05), (10**0.5, 5e-5**0.5), (10, 0.001))
    ]
    assert rising == pytest.approx(expected, abs=LIMIT)


def test_the_validation_loss_does_not_depend_on_batches(found: Errors, graph: AtomicGraph) -> None:
    config = LossConfig()
    whole = loss(found, config, SIZES)
    parts = [
        loss(Errors(found.energy[k : k + 1], found.forces[graph.batch == k], None), config, SIZES)
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
    value = loss(found, config, Sizes(2, 3, 9))
    assert value.item() == pytest.approx(0.09 + 0.01, abs=LIMIT)
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
    assert not loss(errors(wrong, targets, graph), config, Sizes(2, 3, 9)).isfinite()


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
        alone.append(loss(Errors(*parts), config, SIZES).item())
    weights = torch.tensor([0.5, 4.0], dtype=torch.float64)
    whole = loss(found, config, SIZES, Weights(weights, weights[graph.batch], weights)).item()
    assert whole == pytest.approx(0.5 * alone[0] + 4 * alone[1], abs=LIMIT)
    assert loss(found, config, SIZES).item() == pytest.approx(sum(alone), abs=LIMIT)


def numpy_loss(error: np.ndarray, config: LossConfig) -> np.ndarray:
    """Of each component."""
    size, delta = abs(error), config.delta
    if config.kind == "mse":
        return size**2
    assert delta is not None
    return np.where(size < delta, 0.5 * size**2 / delta, size - 0.5 * delta)


@pytest.fixture
def partial() -> tuple[list[Sample], list[Prediction]]:
    """Seven chains, most of which lack labels or components of forces, or have weights."""
    rng = np.random.default_rng(0)
    samples, predictions = [], []
    for n in range(1, 8):
        atoms = ase.Atoms(f"H{n}", positions=[[3.0 * k, 0, 0] for k in range(n)])
        energy, forces, stress = (rng.normal(size=shape) for shape in ((1,), (n, 3), (1, 3, 3)))
        forces[rng.random((n, 3)) < 0.3] = np.nan
        if n in (2, 5):
            energy[:] = np.nan
        if n in (3, 4):
            forces[:] = np.nan
        if n != 6:
            stress[:] = np.nan
        weights = None
        if n % 3 == 0:
            weights = Weights(*(torch.from_numpy(rng.random(s)) for s in ((1,), (n, 3), (1,))))
        labels = Targets(*map(torch.from_numpy, (energy, forces, stress)))
        graph = AtomicGraph.from_atoms(atoms, 1.0, ("H",))
        factor = 2.5 if n == 7 else 1.0
        samples.append(Sample(graph, labels, str(n), factor, None, weights))
        shapes = ((1,), (n,), (n, 3), (1, 3, 3), (1, 3))
        predictions.append(Prediction(*(torch.from_numpy(rng.normal(size=s)) for s in shapes)))
    return samples, predictions


def expected_loss(
    samples: list[Sample], predictions: list[Prediction], config: LossConfig
) -> float:
    """Means over the labels there are, each times its weights, by numpy."""
    total = 0.0
    for name in Errors._fields:
        summed, number = 0.0, 0
        for sample, prediction in zip(samples, predictions, strict=True):
            label = getattr(sample.targets, name).numpy()
            error = getattr(prediction, name).numpy() - label
            if name == "energy":
                error = error / sample.graph.n_atoms
            known = ~np.isnan(label)
            weight = np.ones_like(label)
            if sample.weights is not None:
                given = getattr(sample.weights, name).numpy()
                weight = given.reshape(given.shape + (1,) * (label.ndim - given.ndim)) * weight
            each = sample.weight * weight[known] * numpy_loss(error[known], config)
            summed, number = summed + each.sum(), number + known.sum()
        total += getattr(config, name) * summed / number
    return total


def batch_losses(
    samples: list[Sample],
    predictions: list[Prediction],
    config: LossConfig,
    batch_size: int,
    processes: int = 1,
) -> list[float]:
    """Of each batch; the mean over the processes."""
    by_name = {sample.name: p for sample, p in zip(samples, predictions, strict=True)}
    rows = []
    for rank in range(processes):
        rows.append([])
        for batch in Batches(samples, batch_size, None, rank, processes):
            names = batch.names or (samples[0].name,)
            columns = zip(*(by_name[name] for name in names), strict=True)
            if batch.names:
                prediction = Prediction(*(torch.cat(column) for column in columns))
                found = errors(prediction, batch.targets, batch.graph)
                rows[-1].append(loss(found, config, batch.sizes, batch.weights).item())
            else:
                rows[-1].append(0.0)
    return np.mean(rows, axis=0).tolist()


@pytest.mark.parametrize("kind", ["mse", "huber"])
def test_terms_are_means_over_the_labels_there_are(
    partial: tuple[list[Sample], list[Prediction]], kind: str
) -> None:
    config = LossConfig(energy=2.0, forces=3.0, stress=0.5, kind=kind, delta=0.4)
    expected = expected_loss(*partial, config)
    (whole,) = batch_losses(*partial, config, 7)
    assert whole == pytest.approx(expected, rel=LIMIT)
    apart = [sample for sample in partial[0] if sample.graph.n_atoms == 7]
    assert count_labels(apart)[2] == 0  # no stress: its term is absent
    (without,) = batch_losses(apart, partial[1][6:], config, 7)
    found = LossConfig(energy=2.0, forces=3.0, kind=kind, delta=0.4)
    assert without == batch_losses(apart, partial[1][6:], found, 7)[0] > 0


def test_a_label_counts_the_same_in_every_batch(
    partial: tuple[list[Sample], list[Prediction]],
) -> None:
    """So the mean over batches of one size is the loss of the set, however the labels fall."""
    samples, predictions = partial
    pairs = [k for k in range(7) if samples[k].graph.n_atoms in (1, 2, 5, 6, 7)]
    config = LossConfig(energy=1.0, forces=0.0, stress=1.0, kind="mse")
    samples, predictions = ([each[k] for k in pairs] for each in partial)
    single = batch_losses(samples, predictions, config, 1)
    assert np.mean(single) == pytest.approx(expected_loss(samples, predictions, config), rel=LIMIT)


@pytest.mark.parametrize("processes", [2, 3])
def test_shares_of_batches_with_missing_labels_average_to_the_whole(
    partial: tuple[list[Sample], list[Prediction]], processes: int
) -> None:
    config = LossConfig(stress=1.0)
    alone = batch_losses(*partial, config, 4)
    assert batch_losses(*partial, config, 4, processes) == pytest.approx(alone, rel=LIMIT)


def test_a_weight_of_two_is_a_copy(partial: tuple[list[Sample], list[Prediction]]) -> None:
    """But for the number of structures, by which sums of both are divided."""
    samples, predictions = partial
    config = LossConfig(energy=1.0, forces=0.0, stress=0.0, kind="mse")
    double = [replace(samples[0], weight=2.0), *samples[1:]]
    twice = [*samples, replace(samples[0], name="again")], [*predictions, predictions[0]]
    (copied,), (weighted,) = (
        batch_losses(*each, config, 9) for each in (twice, (double, predictions))
    )
    n = count_labels(samples).energy
    assert (n + 1) * copied == pytest.approx(n * weighted, rel=LIMIT)


def test_metrics_count_components(partial: tuple[list[Sample], list[Prediction]]) -> None:
    """Errors are what they are: weights do not change them."""
    samples, predictions = partial
    graph, targets = collate(samples)
    prediction = Prediction(*(torch.cat(column) for column in zip(*predictions, strict=True)))
    metrics = Metrics(("H",))
    metrics.update(errors(prediction, targets, graph), targets, graph)
    label = targets.forces.numpy()
    known = ~np.isnan(label)
    error = (prediction.forces.numpy() - label)[known]
    assert 0 < known.sum() < label.size and (known.any(axis=1) > known.all(axis=1)).any()
    assert metrics.results()["force_mae_mev_per_a"] == pytest.approx(1000 * abs(error).mean())
    rmse = 1000 * (error**2).mean() ** 0.5
    assert metrics.results()["force_rmse_mev_per_a"] == pytest.approx(rmse)
    assert metrics.force_mae_by_element() == {"H": metrics.results()["force_mae_mev_per_a"]}
