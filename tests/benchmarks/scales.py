"""Activations and gradients of an untrained force field, layer by layer: measured only.

    python tests/benchmarks/scales.py [--groups "O(3)" "SO(2)" ...] [--as-drawn]

For each group: root mean square of the components of every activation, and root mean square over
the atoms of the norm of d e / d activation, where e is the sum of what the network returns. Both
should be near 1 at every depth. Default settings, 54 atoms of two elements at a liquid's density,
means over 8 draws of the weights. Prints a markdown table.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, cast

import ase
import torch
from torch import Tensor, nn

from sikff.forcefield import ForceField, ForceFieldConfig
from sikff.forcefield.interaction import Interaction
from sikff.graph import AtomicGraph
from sikff.training.data.survey import average_neighbours
from sikff.training.fitting.init_scales import set_scales

GROUPS = ("O(3)", "SO(3)", "C_inf_v", "SO(2)", "D_inf_h", "C6v", "C4", "Ci", "C1", "Oh", "Ih")
ELEMENTS, CUTOFF, DRAWS = ("C", "H"), 5.0, 8


def liquid() -> ase.Atoms:
    """54 atoms, two elements, on a rattled lattice of 0.1 atoms/Å^3."""
    atoms = ase.Atoms("CH", [[0, 0, 0], 3 * [1.36]], cell=3 * [2.714], pbc=True).repeat(3)
    atoms.rattle(0.3, seed=0)
    return atoms


def watch(model: ForceField, found: dict[str, Tensor]) -> list[Any]:
    """Keeps the activations of the network by name, with their gradients."""

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Tensor | None = None) -> None:
            tensor = inputs[0] if output is None else output
            tensor.retain_grad()
            found[name] = tensor

        return hook

    handles = [model.network.start.register_forward_hook(keep("embedding"))]
    for k, module in enumerate(model.network.interactions, 1):
        layer = cast(Interaction, module)
        handles.append(layer.linear[0].register_forward_pre_hook(keep(f"messages {k}")))
        for power, product in enumerate(layer.product, 2):
            handles.append(product.register_forward_hook(keep(f"products of {power}, {k}")))
        handles.append(layer.register_forward_hook(keep(f"features {k}")))
    return handles


def scales(group: str, scaled: bool) -> dict[str, tuple[float, float]]:
    """Of every activation: its root mean square, and that of the norm of its gradient."""
    graph = AtomicGraph.from_atoms(liquid(), CUTOFF, ELEMENTS)
    neighbours = average_neighbours([graph], CUTOFF)
    config = ForceFieldConfig(
        elements=ELEMENTS, group=group, cutoff=CUTOFF, average_neighbours=neighbours
    )
    squares: dict[str, Tensor] = {}
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        model, found = ForceField(config), dict[str, Tensor]()
        if scaled:
            set_scales(model, [model.network], [graph])
        watch(model, found)
        e = model.atomic_energies(graph)
        found["energy"] = e
        e.retain_grad()
        (e * torch.randn_like(e)).sum().backward()
        for name, tensor in found.items():
            gradient = cast(Tensor, tensor.grad).square().sum() / graph.n_atoms
            both = torch.stack([tensor.detach().square().mean(), gradient]).double()
            squares[name] = squares.get(name, 0) + both / DRAWS
    return {name: tuple(both.sqrt().tolist()) for name, both in squares.items()}


def main() -> None:
    parser = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", nargs="+", default=GROUPS)
    parser.add_argument("--as-drawn", action="store_true", help="weights as they are drawn")
    options = parser.parse_args()
    table = {group: scales(group, not options.as_drawn) for group in options.groups}
    print("| activation; gradient | " + " | ".join(table) + " |")
    print("|---" * (len(table) + 1) + "|")
    for name in next(iter(table.values())):
        cells = ("{:.2f}; {:.2f}".format(*found[name]) for found in table.values())
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
