"""Large systems are evaluated part by part: what is made at a time stays small.

Of results that are only summed, the gradient is taken at once, and nothing is kept for it. What the
gradient of other results needs is kept as far as there is room for it, and computed again for all
other parts, whose memory is that of one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from sikff.nn import EdgeBasis, NeighbourLayout, TabulatedBasis

# Of the largest tensor, features of all senders, so much is made at a time. On a CPU that is taken
# from memory that has been freed, not from the system, which would clear it; a GPU runs full.
BYTES_AT_ONCE = {"cpu": 2**24, "cuda": 2**30}
# For the first parts, with so much of it in all, what gradients need is kept, four times as much.
# For the others it is computed again: a fifth more time, less than half of the memory.
BYTES_KEPT = {"cpu": 2**28, "cuda": 2**31}

Function = Callable[..., Tensor]


def are_small(places: int, row: int, device: torch.device) -> bool:
    """Whether so many neighbours, with features of ``row`` bytes, are evaluated all at once."""
    return places * row <= _of(BYTES_AT_ONCE, device)


def in_parts(layout: NeighbourLayout, row: int, device: torch.device) -> Parts | None:
    """The layout in parts, or None where it is small.

    ``row``: bytes of the features of a sender.
    """
    places = layout.n_places
    if are_small(places, row, device):
        return None
    at_once, kept = (_of(sizes, device) // row for sizes in (BYTES_AT_ONCE, BYTES_KEPT))
    return Parts(layout, at_once, kept)


def _of(sizes: dict[str, int], device: torch.device) -> int:
    return sizes.get(device.type, min(sizes.values()))


def keep_freed_memory() -> None:
    """Has the C library keep what every step frees and needs again.

    That of Linux gives blocks back to the system that are larger than any it has seen, up to 32 MB.
    """
    torch.empty(2**25 - 2**16, dtype=torch.uint8)


class Parts:
    """The edges of a graph in parts, each of some receivers and all their neighbours.

    Args:
        layout: of all edges.
        places: of a part, at most; one receiver may have more.
        kept: places of the parts, the first ones, for which what gradients need is not computed
            again.
    """

    def __init__(self, layout: NeighbourLayout, places: int, kept: int) -> None:
        self.order = layout.order
        self.stacked = None if layout.order is None else torch.argsort(layout.order)
        self.layouts, senders = [], []
        for part in layout.split(places):
            found, index = torch.unique(part.senders, return_inverse=True)
            self.layouts.append(part._replace(senders=index))
            senders.append(found)
        self.senders = torch.cat(senders)
        self.n_senders = [len(found) for found in senders]
        self.n_receivers = [part.shapes[0][0] for part in self.layouts]
        self.n_places = [part.n_places for part in self.layouts]
        self.is_kept = [so_far <= kept for so_far in accumulate(self.n_places)]

    def of_places(
        self, function: Callable[..., tuple[Tensor, ...]], *inputs: Tensor
    ) -> tuple[Tensor, ...]:
        """``function(*inputs)``, row by row, of what is known of all places."""
        pieces = [x.split(self.n_places) for x in inputs]
        found = [_run(keep, function, *of) for keep, *of in zip(self.is_kept, *pieces, strict=True)]
        return tuple(map(torch.cat, zip(*found, strict=True)))

    def evaluate(
        self,
        function: Function,
        f: Tensor,
        gates: Tensor,
        edges: EdgeBasis | TabulatedBasis,
        summed: bool = False,
    ) -> Tensor:
        """``function(f, own, gates, edges, layout)`` of all atoms: see ``Interaction``.

        Args:
            function: has a row for each receiver of the layout that it is given.
            f, gates, edges: features and attributes of atoms, what kernels see of all places.
            summed: what is returned will only be summed, and what the function depends on otherwise
                has no gradient.
        """
        own, f = f, f.contiguous()
        if self.stacked is not None:
            own, gates = (x.index_select(0, self.stacked) for x in (own, gates))
        # gathered at once: the gradient of a part's rows of all atoms has the size of all atoms
        inputs = [f.index_select(0, self.senders).split(self.n_senders)]
        inputs += [x.split(self.n_receivers) for x in (own, gates)]
        inputs += [x.split(self.n_places) for x in edges if x is not None]

        def of_part(
            layout: NeighbourLayout, f: Tensor, own: Tensor, gates: Tensor, *of_edges: Tensor
        ) -> Tensor:
            return function(f, own, gates, type(edges)(*of_edges), layout)

        runs = [_SlopesAtOnce.apply if summed else partial(_run, keep) for keep in self.is_kept]
        parts = zip(runs, self.layouts, *inputs, strict=True)
        results = [run(of_part, *part) for run, *part in parts]
        stacked = torch.cat(results)
        return stacked if self.order is None else stacked.index_select(0, self.order)


class _SlopesAtOnce(torch.autograd.Function):
    """``function(layout, *inputs)``, keeping the slopes of the sum of the results.

    They are all that a backward pass needs in which every result has the same weight. In another,
    or in one that is to be differentiated, the function is called again.
    """

    @staticmethod
    def forward(ctx: Any, function: Function, layout: NeighbourLayout, *inputs: Tensor) -> Tensor:
        ctx.called = function, layout
        wanted = ctx.needs_input_grad[2:]
        pieces = [x.detach().requires_grad_(w) for x, w in zip(inputs, wanted, strict=True)]
        with torch.enable_grad():
            result = function(layout, *pieces)
        slopes = _slopes(result, pieces, torch.ones_like(result), again=False)
        ctx.save_for_backward(*inputs, *slopes)
        return result.detach()

    @staticmethod
    def backward(ctx: Any, *weights: Tensor) -> tuple[Tensor | None, ...]:
        wanted, again = ctx.needs_input_grad[2:], torch.is_grad_enabled()
        inputs = ctx.saved_tensors[: len(wanted)]
        weight = weights[0].flatten()[0]
        if not again and bool((weights[0] == weight).all()):
            slopes = [weight * slope for slope in ctx.saved_tensors[len(wanted) :]]
        else:
            function, layout = ctx.called
            with torch.enable_grad():
                result = function(layout, *inputs)
            slopes = _slopes(result, inputs, weights[0], again)
        found = iter(slopes)
        return (None, None, *(next(found) if w else None for w in wanted))


def _run(keep: bool, function: Callable[..., Any], *inputs: Any) -> Any:
    """``function(*inputs)``, called again where its gradient is needed, unless that is kept."""
    if keep:
        return function(*inputs)
    return checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)


def _slopes(result: Tensor, inputs: Sequence[Tensor], weights: Tensor, again: bool) -> list[Tensor]:
    """Of the weighted sum of the results, in those inputs that have a gradient."""
    asked = [x for x in inputs if x.requires_grad]
    if not asked:
        return []
    return list(
        torch.autograd.grad(result, asked, weights, create_graph=again, materialize_grads=True)
    )
