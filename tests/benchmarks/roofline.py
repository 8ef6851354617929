"""What a force field computes and moves in each layer, against the time it takes: measured only.

    python tests/benchmarks/roofline.py [--group C_inf_v] [--system bpa]

Every tensor operation of one energy-and-forces call is counted: calls, floating-point operations of
products, bytes read and written; and the time it takes is measured. Views are free. Beside the time
of each layer stand the times that its arithmetic, its bytes and its calls alone would take at the
best rates that this machine shows in the same run: the largest says what limits the layer.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from md_step import CUTOFF, ELEMENTS, SIKFF, SYSTEMS
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from sikff import ForceField, ForceFieldConfig
from sikff.graph import AtomicGraph
from sikff.nn import ChannelLinear, ImplicitKernel, PointConv
from sikff.nn.channel_product import ChannelProduct
from sikff.nn.contraction import Contraction
from sikff.nn.gmlp import Trunk

WARM, REPEATS = 5, 20
LAYERS = (  # what is counted, and its name in the table; inside of another layer, the inner one
    (PointConv, "gather", "convolution: sum over neighbours"),
    (ImplicitKernel, "basis", "kernel: harmonics and radial functions"),
    (Trunk, "forward", "kernel: network h(x, a)"),
    (Contraction, "forward", "convolution: W CG"),
    (ChannelProduct, "forward", "update: products"),
    (ChannelLinear, "forward", "update: linear maps"),
)


@dataclass
class Count:
    calls: int = 0
    flops: int = 0
    bytes: int = 0
    seconds: float = 0.0


class Counter(TorchDispatchMode):
    """Counts the operations under each layer."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[str, Count] = defaultdict(Count)
        self.stack = ["other"]
        for layer, method, name in LAYERS:
            setattr(layer, method, self.within(getattr(layer, method), name))

    def within(self, method: Callable[..., Any], name: str) -> Callable[..., Any]:
        """The method, whose operations count under a name; linear maps of a kernel are its own."""

        def counted(*args: Any, **kwargs: Any) -> Any:
            inner = self.stack[-1] if self.stack[-1].startswith("kernel") else name
            self.stack.append(inner)
            try:
                return method(*args, **kwargs)
            finally:
                self.stack.pop()

        return counted

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        start = time.perf_counter()
        out = func(*args, **(kwargs or {}))
        seconds = time.perf_counter() - start
        backward = torch._C._current_graph_task_id() != -1
        count = self.counts["backward" if backward else self.stack[-1]]
        if not func.is_view:
            tensors = [t for t in tree_leaves((args, kwargs, out)) if torch.is_tensor(t)]
            count.calls += 1
            count.bytes += sum(t.numel() * t.element_size() for t in tensors)
            if func._overloadpacket in flop_registry:
                count.flops += flop_registry[func._overloadpacket](
                    *args, **(kwargs or {}), out_val=out
                )
        count.seconds += seconds
        return out


def best(work: Callable[[], object], repeats: int = 30) -> float:
    """Shortest time (s) of some work."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def rates() -> tuple[float, float, float]:
    """Of this machine: operations and bytes in a second, and seconds for the smallest call.

    The bytes are those of 1 MB that stay in the cache, as those of small systems do.
    """
    a, b, small = torch.rand(768, 768), torch.rand(768, 768), torch.rand(1)
    source, target = torch.rand(2**18), torch.rand(2**18)
    flops = 2 * 768**3 / best(lambda: a @ b)
    moved = 2 * 4 * 2**18 / best(lambda: target.copy_(source))
    return flops, moved, best(lambda: [small + 1 for _ in range(1000)]) / 1000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--group", default="C_inf_v")
    parser.add_argument("--system", choices=SYSTEMS, default="bpa")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    atoms = SYSTEMS[options.system]()
    graph = AtomicGraph.from_atoms(atoms, CUTOFF, ELEMENTS)
    degree = graph.n_edges / graph.n_atoms
    known = SIKFF.get(f"sikff {options.group}", {"group": options.group})
    config = ForceFieldConfig(elements=ELEMENTS, cutoff=CUTOFF, average_neighbours=degree, **known)
    model = ForceField(config).eval().freeze()
    for _ in range(WARM):
        model(graph)
    plain = best(lambda: model(graph), REPEATS)
    counter = Counter()
    for _ in range(REPEATS):
        with counter:
            model(graph)
    flops, moved, call = rates()
    print(f"{options.group}, {options.system}: {graph.n_atoms} atoms, {degree:.0f} neighbours each")
    print(f"machine, one thread: {flops / 1e9:.0f} GFLOP/s, {moved / 1e9:.1f} GB/s", end=", ")
    print(f"{1e6 * call:.1f} µs a call; the model uncounted: {1000 * plain:.1f} ms")
    print("\n| layer | calls | MFLOP | MB | ms | ms: FLOP | ms: bytes | ms: calls |")
    print("|---|---|---|---|---|---|---|---|")
    total = Count()
    rows = sorted(counter.counts.items(), key=lambda row: -row[1].seconds)
    for count in counter.counts.values():
        for field in ("calls", "flops", "bytes", "seconds"):
            setattr(total, field, getattr(total, field) + getattr(count, field))
    for name, count in [*rows, ("all", total)]:
        calls, n_flops, n_bytes = (
            value / REPEATS for value in (count.calls, count.flops, count.bytes)
        )
        print(
            f"| {name} | {calls:.0f} | {n_flops / 1e6:.1f} | {n_bytes / 1e6:.1f} | "
            f"{1000 * count.seconds / REPEATS:.2f} | {1000 * n_flops / flops:.2f} | "
            f"{1000 * n_bytes / moved:.2f} | {1000 * calls * call:.2f} |"
        )


if __name__ == "__main__":
    main()
