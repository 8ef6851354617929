"""Random weights of a size that suits the data, for every group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from sikff.forcefield import ForceField
from sikff.forcefield.network import Network
from sikff.graph import AtomicGraph

ATOMS = 500  # about as many are looked at


@torch.no_grad()
def set_scales(
    model: ForceField, networks: Sequence[Network], graphs: Sequence[AtomicGraph]
) -> None:
    """Rescales the weights that make messages and products, so that both have unit mean square.

    Sums over neighbours whose places are correlated, and powers of them, are larger or smaller
    than those of independent numbers would be, the more so the smaller the group; so the size of
    what an untrained network computes is measured, layer by layer, at atoms with neighbours of some
    structures. What is zero there keeps its weights.

    Args:
        model: a force field.
        networks: those of its networks that have random weights; they are changed.
        graphs: training structures, of which some are drawn.
    """
    batch = AtomicGraph.batch_of(_some(graphs))
    bound = batch.edge_index[0].unique()
    for network in networks:
        for seen, weight in _weights(network):
            size = _input(seen, model, batch)[..., bound].square().mean().sqrt()
            if size > 0:
                weight.div_(size)


def _some(graphs: Sequence[AtomicGraph]) -> list[AtomicGraph]:
    """The same few of the same structures, whatever their order says of them."""
    order = torch.randperm(len(graphs), generator=torch.Generator().manual_seed(0))
    found, atoms = [], 0
    for place in order.tolist():
        if graphs[place].n_edges and atoms < ATOMS:
            found.append(graphs[place])
            atoms += graphs[place].n_atoms
    return found or [graphs[0]]


def _input(module: nn.Module, model: ForceField, batch: AtomicGraph) -> Tensor:
    """What the module sees when the model is called, with the atoms last."""
    found = []
    handle = module.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]))
    try:
        model.atomic_energies(batch)
    finally:
        handle.remove()
    return cast(Tensor, found[0])


def _weights(network: Network) -> Iterator[tuple[nn.Module, Tensor]]:
    """The linear maps that see messages and products first, in the order of the forward pass, each
    with the weights of what it sees."""
    for layer in network.interactions:
        layer = cast(Any, layer)
        made = [layer.conv.kernel.contraction, *layer.product]
        for linear, module in zip(layer.linear, made, strict=True):
            yield linear, module.weight
