"""What a model does where its training data end: at distances of pairs, and below a height."""

from __future__ import annotations

import torch
from torch import Tensor

from sikff.forcefield.environment import Environment
from sikff.forcefield.trained_distances import CONTINUED, TrainedDistances
from sikff.graph import AtomicGraph

KINDS = ("height", "distance")  # of warnings


class DataEnd:
    """Where the training data of a model end, and what it does there.

    Args:
        environment: with the lowest heights.
        distances: of pairs; None: they are not known.
    """

    def __init__(self, environment: Environment, distances: TrainedDistances | None) -> None:
        self.environment, self.distances = environment, distances
        self._within: AtomicGraph | None = None  # the last one found to be in their range

    def is_reached(self, graph: AtomicGraph) -> bool:
        """Whether the network is not left to itself."""
        if graph is self._within:
            return False
        far = self.distances is not None and self.distances.state(graph) == CONTINUED
        return far or self.environment.is_below(graph)

    def continuation(
        self, graph: AtomicGraph, vectors: Tensor, certain: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Vectors that the network reads, and energies [N] to add; None: the data do not end.

        Args:
            graph: atoms and edges.
            vectors: of the edges [E, 3].
            certain: compute it without looking whether the data end, which on a GPU would wait for
                it; within the data the same vectors and zeros.
        """
        environment, energies = self.environment, None
        if environment.has_wall and (certain or environment.is_below(graph)):
            energies = environment.wall(graph)
        if self.distances is None:
            return vectors, energies
        if not certain and self.distances.state(graph) != CONTINUED:
            return vectors, energies
        lengths = vectors.norm(dim=-1)
        repulsion = self.distances.energies(graph, lengths)
        energies = repulsion if energies is None else energies + repulsion
        return self.distances.faded(graph, vectors, lengths), energies

    def is_passed(self, graph: AtomicGraph, vectors: Tensor) -> Tensor:
        """Whether there is a warning of each of KINDS, [2] bool, on the device."""
        height = self.environment.is_outside(graph)
        distance = torch.zeros_like(height)
        if self.distances is not None:
            distance = self.distances.is_outside(graph, vectors.norm(dim=-1))
        return torch.stack([height, distance])

    def warnings(self, graph: AtomicGraph) -> dict[str, str]:
        """Extrapolation warnings, by kind; those of the environment's conditions are among them."""
        warnings = self.environment.extrapolation_warnings(graph)
        distance = None if self.distances is None else self.distances.warning(graph)
        warnings |= {"distance": distance} if distance else {}
        self._within = None if warnings.keys() & set(KINDS) else graph
        return warnings
