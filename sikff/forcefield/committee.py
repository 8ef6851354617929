"""Committees: several models of one system, whose mean is the result and whose spread its error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from sikff.forcefield.atomic_stress import FullPrediction
from sikff.forcefield.energy import EnergyModel, Prediction
from sikff.forcefield.force_field import ForceField
from sikff.groups.matrices import unit_vector

AnyPrediction = TypeVar("AnyPrediction", Prediction, FullPrediction)


class GraphSettings(NamedTuple):
    """What a model needs of the graphs that it reads; models with equal settings can share them."""

    cutoff: float
    elements: tuple[str, ...]
    surfaces: tuple[str, ...]


def graph_settings(model: EnergyModel) -> GraphSettings:
    return GraphSettings(model.cutoff, tuple(model.elements), tuple(model.surfaces))


def mean_prediction(predictions: Sequence[AnyPrediction]) -> AnyPrediction:
    """The mean over the models, in float64; of one model its prediction as it is."""
    if len(predictions) == 1:
        return predictions[0]
    columns = zip(*predictions, strict=True)
    return type(predictions[0])._make(
        None if column[0] is None else _stacked(column).mean(0) for column in columns
    )


def standard_deviation(predictions: Sequence[AnyPrediction], name: str) -> Tensor:
    """Sample standard deviation of "energy" or "forces" over at least two models."""
    return _stacked([getattr(prediction, name) for prediction in predictions]).std(0)


def _stacked(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack([tensor.double() for tensor in tensors])  # dtypes of models may differ


def check_committee(models: Sequence[EnergyModel]) -> None:
    """Raises ValueError unless the models describe the same system.

    That is: if there are none, or if they differ in their elements or, where they have a
    configuration, in the electric field, charge, spin, plane and surfaces that they read.
    """
    if not models:
        raise ValueError("the list of models is empty; expected at least one model or path")
    for describe in (_describe_elements, _describe_environment):
        descriptions = {index: describe(model) for index, model in enumerate(models)}
        known = {index: text for index, text in descriptions.items() if text}
        first = next(iter(known), 0)
        for index, text in known.items():
            if text != known[first]:
                raise ValueError(
                    f"the models of the committee disagree: model {index} {text}, model {first} "
                    f"{known[first]}; expected the same of all models"
                )


def _describe_elements(model: EnergyModel) -> str:
    return f"knows the elements {', '.join(sorted(model.elements))}"


def _describe_environment(model: EnergyModel) -> str:
    """Field, charge, spin and surfaces that the model reads; empty without a configuration."""
    if not isinstance(model, ForceField):
        return ""
    environment, normal = model.config.environment, unit_vector(model.config.axis)
    field = "reads the electric field" if environment.field else "reads no electric field"
    for name in ("charge", "spin"):
        field += f" and the {name}" if getattr(environment, name) else ""
    if environment.plane_origin is None:
        return f"{field} and sees no plane"
    nearest = normal * (normal @ environment.plane_origin)  # equal for all points of the plane
    numbers = [[round(float(x), 6) + 0.0 for x in vector] for vector in (nearest, normal)]
    plane = "a plane through {} normal to {}".format(*numbers)
    slit, surfaces = environment.slit_width, ", ".join(environment.surfaces)
    plane += "" if slit is None else f" with another {slit:g} Å above it"
    return f"{field} and sees {plane}{f', one of {surfaces}' if surfaces else ''}"
