"""Means and deviations of models, and which of them can read the same graph."""

import torch

from force_fields import force_field
from pair_model import PairModel, structures
from sikff.forcefield.committee import graph_settings, mean_prediction, standard_deviation
from sikff.graph import AtomicGraph
from tolerances import TOLERANCES


def test_models_of_different_dtypes_have_a_float64_mean_and_deviation() -> None:
    graph = AtomicGraph.from_atoms(structures()[0], 4.0, ("H", "Cu"))
    models = [PairModel().float().eval(), PairModel().double().eval()]
    with torch.no_grad():
        models[1].weight *= 1.5
    predictions = [model(graph) for model in models]
    assert mean_prediction(predictions[:1]) is predictions[0]
    mean = mean_prediction(predictions)
    deviation = standard_deviation(predictions, "forces")
    assert mean.forces.dtype == deviation.dtype == torch.float64
    assert mean.stress is None
    limit = TOLERANCES[torch.float32].gradient
    assert (mean.forces - 1.25 * predictions[0].forces).abs().max() < limit
    expected = 0.5**0.5 * (predictions[1].forces - predictions[0].forces).abs()
    assert expected.max() > 0.01
    assert (deviation - expected).abs().max() < limit


def test_models_share_graphs_if_cutoff_elements_and_surfaces_are_equal() -> None:
    plane = {"plane_origin": (0.0, 0.0, -2.0)}
    environments = [{**plane, "surfaces": ("graphene", "NaCl")}, plane, {}]
    models = [force_field("C_inf_v", environment=each) for each in environments]
    models += [PairModel(models[0].elements), PairModel(models[0].elements, cutoff=3.0)]
    settings = [graph_settings(model) for model in models]
    assert settings[1] == settings[2] == settings[3]
    assert len(set(settings)) == 3
