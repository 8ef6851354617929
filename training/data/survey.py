"""What a model takes from the graphs of its training set: neighbours and ranges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from sikff.forcefield import EnvironmentConfig, ForceFieldConfig
from sikff.forcefield.environment import Environment
from sikff.forcefield.trained_distances import BIN, Intervals, intervals, pair_name
from sikff.graph import AtomicGraph
from sikff.nn import PolynomialEnvelope

from .batches import Sample, without_edges


class Survey:
    """Collects from graphs, one after another, so that none has to stay in memory.

    Args:
        model: the configuration of the model, with elements and cutoff.

    Attributes:
        charged: the graphs without edges, if the model reads charge or spin.
        closest: the shortest distance (Å) of two atoms, the number of its graph, and the atoms;
            None: no edges.
    """

    def __init__(self, model: ForceFieldConfig) -> None:
        self.model, self.charged = model, list[AtomicGraph]()
        self._environment = Environment(model).double()
        self._envelope = PolynomialEnvelope(model.cutoff)
        self._counted, self._atoms = 0.0, 0
        n, n_bins = len(model.elements), int(model.cutoff / BIN) + 1
        self._distances = np.zeros((n, n, n_bins), dtype=np.int64)
        self._fields: tuple[Tensor, Tensor] | None = None  # least and largest strength
        self._lowest: Tensor | None = None
        self.closest: tuple[float, int, list[int]] | None = None
        self._added = 0
        self._totals: dict[str, tuple[float, float]] = {}

    @classmethod
    def of(cls, settings: Mapping[str, Any], samples: Iterable[Sample]) -> Survey:
        """That of samples, for a model with these settings, `elements` among them."""
        survey = cls(ForceFieldConfig(**{**settings, "atomic_energies": {}}))
        for sample in samples:
            survey.add(sample.graph)
        return survey

    def add(self, graph: AtomicGraph) -> None:
        """Adds the graph of one structure."""
        lengths = graph.vectors().norm(dim=-1)
        self._counted += _counted(lengths, self._envelope)
        self._atoms += graph.n_atoms
        bins = (lengths / BIN).long().clamp(max=self._distances.shape[-1] - 1).numpy()
        np.add.at(self._distances, (*graph.species[graph.edge_index].numpy(), bins), 1)
        if len(lengths):
            least = lengths.min().item()
            if self.closest is None or least < self.closest[0]:
                pair = graph.edge_index[:, int(lengths.argmin())].tolist()
                self.closest = least, self._added, pair
        self._added += 1
        config = self.model.environment
        if config.totals:
            self.charged.append(without_edges(graph))
        if config.field:
            strengths = self._environment.field_strengths(graph)
            least, most = strengths.min(), strengths.max()
            if self._fields is not None:
                least, most = least.minimum(self._fields[0]), most.maximum(self._fields[1])
            self._fields = least, most
        if config.plane_origin is not None:
            lowest = self._environment.lowest_heights(graph)
            self._lowest = lowest if self._lowest is None else lowest.minimum(self._lowest)
        for tensor in config.totals:
            value = float(getattr(graph, tensor))
            low, high = self._totals.get(tensor, (value, value))
            self._totals[tensor] = min(value, low), max(value, high)

    @property
    def average_neighbours(self) -> float:
        """Mean over the atoms, see :func:`average_neighbours`."""
        return max(self._counted / self._atoms, 1.0)

    def environment_range(self) -> tuple[EnvironmentConfig, list[str]]:
        """Fills in the ranges of field, charge and spin, and the lowest height, that are not given.

        Returns:
            The environment of the model, and the ranges in words.
        """
        config = self.model.environment
        limits: dict[str, Any] = {}
        if self._fields is not None:
            limits |= dict(zip(("field_min", "field_max"), map(float, self._fields), strict=True))
        if self._lowest is not None:
            pairs = zip(self.model.elements, self._lowest.tolist(), strict=True)
            heights = {element: height for element, height in pairs if np.isfinite(height)}
            limits["height_min"] = _lowest(config.height_min, heights)
        for name, tensor, absent in (("charge", "charge", 0), ("spin", "unpaired", 1)):
            if tensor in self._totals:
                least, most = self._totals[tensor]
                limits |= {
                    f"{name}_min": round(least + absent),
                    f"{name}_max": round(most + absent),
                }
        limits = {
            name: limit
            for name, limit in limits.items()
            if (name == "height_min" and limit != {}) or getattr(config, name) is None
        }
        config = config.model_copy(update=limits)
        return config, _in_words(config, limits)

    def distance_range(
        self, settings: Mapping[str, Any]
    ) -> tuple[dict[str, Intervals] | None, list[str]]:
        """The distances within the cutoff in the training data, and those of the model they extend.

        Args:
            settings: those that are given. A model to fine-tune whose distances are not known keeps
                it so: they would be those of the new data alone.

        Returns:
            Intervals (Å) for each pair of elements, and in words the pairs that never occur.
        """
        before = settings.get("distances_seen", {})
        if before is None:
            return None, []
        found: dict[str, Intervals] = {}
        for i, first in enumerate(self.model.elements):
            for j, second in enumerate(self.model.elements[: i + 1]):
                name = pair_name(first, second)
                histogram = self._distances[i, j] + self._distances[j, i]
                for low, high in before.get(name, before.get("-".join(name.split("-")[::-1]), ())):
                    histogram[round(low / BIN) : round(high / BIN)] += 1
                found[name] = intervals(histogram, self.model.cutoff)
        never = sorted(name for name, seen in found.items() if not seen)
        words = f"no {', '.join(never[:6])}{' ...' if len(never) > 6 else ''} within the cutoff"
        return found, [words] if never else []


def average_neighbours(graphs: Iterable[AtomicGraph], cutoff: float) -> float:
    """Mean over the atoms of sum_j u(r_ij)^2, u the envelope of the cutoff (Å); at least 1.

    Messages of this many neighbours of independent features have as large a variance, so divided
    by its square root they are of one size, in gases and in dense crystals.
    """
    envelope, counted, atoms = PolynomialEnvelope(cutoff), 0.0, 0
    for graph in graphs:
        counted += _counted(graph.vectors().norm(dim=-1), envelope)
        atoms += graph.n_atoms
    return max(counted / atoms, 1.0)


def _counted(lengths: Tensor, envelope: PolynomialEnvelope) -> float:
    return float(envelope(lengths).square().sum())


def _lowest(
    known: float | dict[str, float] | None, found: dict[str, float]
) -> float | dict[str, float]:
    """Lowest heights (Å) of a model before its training, if any, and of the data."""
    if isinstance(known, int | float):  # of an older model, which has no wall
        return min(known, *found.values()) if found else known
    before = known or {}
    return {e: min(found.get(e, np.inf), before.get(e, np.inf)) for e in before | found}


def _in_words(config: EnvironmentConfig, limits: Mapping[str, Any]) -> list[str]:
    """The ranges that are filled in."""
    words = []
    if limits.keys() & {"field_min", "field_max"}:
        words.append(f"fields from {config.field_min:.3g} to {config.field_max:.3g} V/Å")
    if "height_min" in limits:
        known = config.height_min
        by_element = known if isinstance(known, dict) else {"all elements": known}
        least = ", ".join(f"{height:.3g} ({name})" for name, height in by_element.items())
        words.append(f"heights from {least} Å")
    if limits.keys() & {"charge_min", "charge_max"}:
        words.append(f"total charges from {config.charge_min} to {config.charge_max}")
    if limits.keys() & {"spin_min", "spin_max"}:
        words.append(f"spin multiplicities from {config.spin_min} to {config.spin_max}")
    return words
