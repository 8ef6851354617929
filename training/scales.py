"""Random weights of a size that suits the data, for every group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from sikff.forcefield import ForceField
from sikff.graph import AtomicGraph

ATOMS = 500  # about as many are looked at


@torch.no_grad()
def set_scales(model: ForceField, graphs: Sequence[AtomicGraph]) -> None:
    """Rescales the weights of messages and products, so that both have unit mean square.

    Sums over neighbours whose places are correlated, and powers of them, are larger or smaller
    than those of independent numbers would be, the more so the smaller the group; so the size of
    what an untrained network computes is measured, layer by layer, on structures of the training
    set. What is zero there keeps its weights.

    Args:
        model: a force field with random weights; it is changed.
        graphs: training structures.
    """
    some, atoms = [], 0
    for graph in graphs:
        some.append(graph)
        atoms += graph.n_atoms
        if atoms >= ATOMS:
            break
    batch = AtomicGraph.batch_of(some)
    for seen, weight in _weights(model):
        found: list[Tensor] = []

        def keep(_: nn.Module, inputs: tuple[Tensor, ...], into: list[Tensor] = found) -> None:
            into.append(inputs[0])

        handle = seen.register_forward_pre_hook(keep)
        model.atomic_energies(batch)
        handle.remove()
        size = found[0].square().mean().sqrt()
        if size > 0:
            weight.div_(size)


def _weights(model: ForceField) -> Iterator[tuple[nn.Module, Tensor]]:
    """What makes messages and products, in the order of the forward pass, each with the linear map
    that sees them first."""
    for network in (model.vacuum, model.network):
        for layer in () if network is None else network.interactions:
            layer = cast(Any, layer)
            made = [layer.conv.kernel.contraction, *layer.product]
            for linear, module in zip(layer.linear, made, strict=True):
                yield linear, module.weight
