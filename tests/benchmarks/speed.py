"""How long a convolution and a force field take: measured, not asserted.

    python tests/benchmarks/speed.py [--threads 2] [--repeats 15]

Prints medians in ms. The reference implementation of the paper, which builds the kernel on every
edge, took 642 ms for the SO(2) and 533 ms for the O(3) convolution on two cores of the kind this
package is developed on; on another machine compare ratios between rows, not with these.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from ase import Atoms
from ase.build import molecule
from ase.neighborlist import neighbor_list

from sikff import FieldType, ForceField, ForceFieldConfig, SymmetryGroup
from sikff.graph import AtomicGraph
from sikff.nn import PointConv


def water_box(cells: int = 4) -> Atoms:
    """cells^3 water molecules at 1 g/cm^3, each turned at random, in a periodic cube."""
    length = cells * (18.015 / 0.6022) ** (1 / 3)
    turns = SymmetryGroup("SO(3)").sample(cells**3, seed=0).numpy()
    water = molecule("H2O")
    centred = water.positions - water.positions.mean(0)
    box = Atoms(cell=[length] * 3, pbc=True)
    for place, turn in zip(np.ndindex(cells, cells, cells), turns, strict=True):
        box += Atoms(water.symbols, centred @ turn.T + (np.array(place) + 0.5) * length / cells)
    return box


def milliseconds(function: Callable[[], object], repeats: int) -> float:
    """Median time of a call."""
    for _ in range(3):
        function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))


def convolution(
    field_type: FieldType, n_nodes: int, edges: int, box: Atoms
) -> Callable[[], object]:
    """Forward and position gradient of a three-layer convolution on part of the box's graph."""
    receivers, senders, vectors = neighbor_list("ijD", box[:n_nodes], 5.0)
    edge_index = torch.from_numpy(np.stack([receivers, senders]))[:, :edges]
    if edge_index.shape[1] < edges:  # a small open cluster has too few: draw some
        generator = torch.Generator().manual_seed(0)
        edge_index = torch.randint(n_nodes, (2, edges), generator=generator)
        edge_index[0] = torch.arange(edges) * n_nodes // edges
        vectors = torch.randn(edges, 3, generator=generator, dtype=torch.float64).numpy()
    x = torch.from_numpy(vectors[:edges]).float().requires_grad_()
    conv = PointConv(field_type, field_type, layers=3, cutoff=5.0)
    f = torch.randn(n_nodes, field_type.size)

    def run() -> object:
        return torch.autograd.grad(conv(f, x, edge_index).square().sum(), x)

    return run


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    box = water_box()

    for group in ("SO(2)", "C_inf_v", "O(3)", "C6v", "Oh", "Ih"):
        start = time.perf_counter()
        ForceField(ForceFieldConfig(elements=("H", "O"), group=group))
        print(f"building a default force field, {group:8s} {time.perf_counter() - start:6.2f} s")

    so2, o3 = SymmetryGroup("SO(2)"), SymmetryGroup("O(3)")
    fields = FieldType(so2, [(16, irrep) for irrep in so2.irreps(1)])
    time_so2 = milliseconds(convolution(fields, 192, 10370, box), options.repeats)
    print(f"convolution SO(2), 10370 edges {time_so2:8.1f} ms: 642/x = {642 / time_so2:.1f}")
    time_o3 = milliseconds(
        convolution(FieldType.harmonic(o3, 2, 24), 27, 446, box), options.repeats
    )
    print(
        f"convolution O(3),  24 fields,   446 edges {time_o3:8.1f} ms  533/x = {533 / time_o3:.1f}"
    )

    settings: list[tuple[str, dict]] = [
        ("SO(2)", {"max_frequency": 2}),
        ("SO(2)", {"max_frequency": 2, "feature_frequency": 1}),
        ("SO(2)", {}),
        ("C_inf_v", {}),
        ("O(3)", {}),
    ]
    for group, sizes in settings:
        config = ForceFieldConfig(
            elements=("H", "O"), group=group, average_neighbours=54.0, **sizes
        )
        model = ForceField(config).eval().freeze()  # as the calculator holds it
        small, graph = (
            AtomicGraph.from_atoms(atoms, 5.0, config.elements) for atoms in (molecule("H2O"), box)
        )
        call = milliseconds(lambda m=model, g=small: m(g), options.repeats)
        spent = milliseconds(lambda m=model, g=graph: m(g), options.repeats)
        frequencies = f"{config.max_frequency} (features {config.feature_frequency})"
        label = f"force field {group}, frequency <= {frequencies}"
        print(f"{label:52s} {spent:7.1f} ms; one H2O {call:5.1f} ms")


if __name__ == "__main__":
    main()
