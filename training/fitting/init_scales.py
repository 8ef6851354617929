"""Initial scales of random weights, measured on the data (LSUV-like), for every group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from sikff.forcefield import ForceField
from sikff.forcefield.network import Network
from sikff.graph import AtomicGraph

ATOMS = 500  # sampled, about


@torch.no_grad()
def set_scales(
    model: ForceField, networks: Sequence[Network], graphs: Sequence[AtomicGraph]
) -> None:
    """Rescales the weights that make messages and products, so that both have unit mean square.

    Sums over neighbours with correlated positions, and powers of them, are larger or smaller than
    sums of independent numbers, the more so the smaller the group; so the scales of the features
    of an untrained network are measured, layer by layer, at atoms with neighbours of some
    structures. Where features are zero, weights stay as they are.

    Args:
        model: a force field.
        networks: its networks with random weights, which change in place.
        graphs: training structures, some of which are used.
    """
    batch = AtomicGraph.batch_of(_some(graphs))
    bound = batch.edge_index[0].unique()
    for network in networks:
        for layer, weight in _weights(network):
            size = _input(layer, model, batch)[..., bound].square().mean().sqrt()
            if size > 0:
                weight.div_(size)


def _some(graphs: Sequence[AtomicGraph]) -> list[AtomicGraph]:
    """A few structures, drawn with a fixed seed since neighbours in a file are often similar."""
    order = torch.randperm(len(graphs), generator=torch.Generator().manual_seed(0))
    chosen, atoms = [], 0
    for index in order.tolist():
        if atoms >= ATOMS:
            break
        graph = graphs[index]  # perhaps made now
        if graph.n_edges:
            chosen.append(graph)
            atoms += graph.n_atoms
    return chosen or [graphs[0]]


def _input(module: nn.Module, model: ForceField, batch: AtomicGraph) -> Tensor:
    """The input of a module when the model is called, with the atoms last."""
    seen = []
    handle = module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        model.atomic_energies(batch)
    finally:
        handle.remove()
    return cast(Tensor, seen[0])


def _weights(network: Network) -> Iterator[tuple[nn.Module, Tensor]]:
    """The linear maps of messages and products, in the order of the forward pass, each with the
    weights that produce its input."""
    for layer in network.interactions:
        layer = cast(Any, layer)
        made = [layer.conv.kernel.contraction, *layer.product]
        for linear, module in zip(layer.linear, made, strict=True):
            yield linear, module.weight
