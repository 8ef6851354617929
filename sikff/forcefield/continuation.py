"""What a force field does where its training data end."""

from __future__ import annotations

from torch import Tensor

from sikff.forcefield.environment import Environment
from sikff.forcefield.trained_distances import CONTINUED, TrainedDistances
from sikff.graph import AtomicGraph


def continue_data(
    graph: AtomicGraph,
    vectors: Tensor,
    environment: Environment,
    distances: TrainedDistances | None,
    everywhere: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Vectors that networks read, and energies [N] (eV, float64) to add; None: data do not end.

    Args:
        graph: the atoms, and the edges of the vectors.
        vectors: of the edges [E, 3].
        environment: with the lowest heights of the data.
        distances: of the data.
        everywhere: computes both for all atoms, without reading back from the device where they
            are; in the data vectors are then the same, and energies zero.
    """
    below = environment.has_wall if everywhere else environment.is_below(graph)
    energies = environment.wall(graph) if below else None
    if distances is None or not (everywhere or distances.state(graph) == CONTINUED):
        return vectors, energies
    lengths = vectors.norm(dim=-1)
    repulsion = distances.energies(graph, lengths)
    energies = repulsion if energies is None else energies + repulsion
    return distances.faded(graph, vectors, lengths), energies
