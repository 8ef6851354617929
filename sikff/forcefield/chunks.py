"""Evaluates large systems in chunks of receivers, so that activations of one chunk exist at a time.

Where only the gradient of a sum is needed, it is computed with the chunk, and nothing is saved for
the backward pass. Else the first chunks save their activations, as far as memory is granted, and
the others recompute them (activation checkpointing).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from sikff.forcefield.halo import Halo
from sikff.nn import EdgeBasis, NeighbourLayout, SplineBasis

# Bytes of features of senders in one chunk. On a CPU such blocks are recycled by the C library, not
# returned to the system, which would clear them; a GPU needs more to be busy.
CHUNK_BYTES = {"cpu": 2**24, "cuda": 2**30}
# Bytes of features of senders in chunks that save their activations, which take four times as much.
# The others recompute them: a fifth more time, less than half of the memory.
SAVED_BYTES = {"cpu": 2**28, "cuda": 2**31}

Edges = EdgeBasis | SplineBasis
SlotFunction = Callable[..., tuple[Tensor, ...]]
IsSummed = Callable[[], bool] | None


class ReceiverFunction(Protocol):
    """Maps features of senders to one row per receiver of a layout; see ``Interaction``."""

    def __call__(
        self, f: Tensor, own: Tensor, gates: Tensor, edges: Edges, layout: NeighbourLayout, /
    ) -> Tensor: ...


def fits_in_one_chunk(slots: int, sender_bytes: int, device: torch.device) -> bool:
    """Whether so many neighbours, each with ``sender_bytes`` of features, fit in one chunk."""
    return slots * sender_bytes <= _for_device(CHUNK_BYTES, device)


def chunked(
    layout: NeighbourLayout, sender_bytes: int, device: torch.device, halo: Halo | None = None
) -> SingleChunk | Chunks:
    """The layout in chunks if it is large; ``sender_bytes``: size of one sender's features."""
    if fits_in_one_chunk(layout.n_slots, sender_bytes, device):
        return SingleChunk(layout, halo)
    chunk, saved = (
        _for_device(sizes, device) // sender_bytes for sizes in (CHUNK_BYTES, SAVED_BYTES)
    )
    return Chunks(layout, chunk, saved, halo)


def _for_device(sizes: dict[str, int], device: torch.device) -> int:
    return sizes.get(device.type, min(sizes.values()))


def keep_freed_memory() -> None:
    """Makes the C library of Linux recycle blocks of up to 32 MB instead of returning them.

    It returns blocks that are larger than any it has seen.
    """
    torch.empty(2**25 - 2**16, dtype=torch.uint8)


class _OfAtoms:
    """Features of owned atoms and, if there is a halo, of those of other processes."""

    def __init__(self, halo: Halo | None) -> None:
        self.halo = halo

    def receivers(self, values: Tensor) -> Tensor:
        """Values of atoms [N, ...] that receive, [M, ...]: all, but for ghosts."""
        return values if self.halo is None else values[: self.halo.n_owned]

    def senders(self, f: Tensor) -> Tensor:
        """Features [M, d] of receivers as those of all atoms [N, d]."""
        return f if self.halo is None else self.halo.refresh(f)


class SingleChunk(_OfAtoms):
    """The edges of a graph in one piece; has the methods of :class:`Chunks`."""

    def __init__(self, layout: NeighbourLayout, halo: Halo | None = None) -> None:
        super().__init__(halo)
        self.layout = layout

    def of_slots(self, function: SlotFunction, *inputs: Tensor) -> tuple[Tensor, ...]:
        return function(*inputs)

    def evaluate(
        self,
        function: ReceiverFunction,
        f: Tensor,
        gates: Tensor,
        edges: Edges,
        is_summed: IsSummed = None,
    ) -> Tensor:
        return function(self.senders(f), f, gates, edges, self.layout)


class Chunks(_OfAtoms):
    """The edges of a graph in chunks, each of some receivers and all their neighbours.

    Args:
        layout: of all edges.
        slots: of a chunk, at most; one receiver may have more.
        saved: slots in the chunks, the first ones, that save their activations.
        halo: of atoms of other processes, that send only.
    """

    def __init__(
        self, layout: NeighbourLayout, slots: int, saved: int, halo: Halo | None = None
    ) -> None:
        super().__init__(halo)
        self.order = layout.order
        self.stacked = None if layout.order is None else torch.argsort(layout.order)
        chunks = layout.split(slots)
        self.n_slots = [chunk.n_slots for chunk in chunks]
        # features are gathered per chunk, so senders are renumbered within it
        self.sender_index, index, self.n_senders = _number_senders(layout.senders, self.n_slots)
        renumbered = zip(chunks, index.split(self.n_slots), strict=True)
        self.layouts = [chunk._replace(senders=each) for chunk, each in renumbered]
        self.n_receivers = [chunk.shapes[0][0] for chunk in self.layouts]
        self.is_saved = [so_far <= saved for so_far in accumulate(self.n_slots)]

    def of_slots(self, function: SlotFunction, *inputs: Tensor) -> tuple[Tensor, ...]:
        """``function(*inputs)``, a function of each slot alone."""
        pieces = zip(self.is_saved, *(x.split(self.n_slots) for x in inputs), strict=True)
        results = [_run(saved, function, *piece) for saved, *piece in pieces]
        return tuple(map(torch.cat, zip(*results, strict=True)))

    def evaluate(
        self,
        function: ReceiverFunction,
        f: Tensor,
        gates: Tensor,
        edges: Edges,
        is_summed: IsSummed = None,
    ) -> Tensor:
        """``function(f, own, gates, edges, layout)`` of all atoms.

        Args:
            function: is given the features of senders, and those of receivers as ``own``.
            f, gates: features and node attributes of atoms, without ghosts.
            edges: basis of the edges in the layout's slots.
            is_summed: tells whether only the gradient of the sum of the result is needed, and of
                nothing else that the function reads; None: no.
        """
        own, f = f, self.senders(f).contiguous()
        if self.stacked is not None:  # receivers in the order of the layout's tables
            own, gates = (x.index_select(0, self.stacked) for x in (own, gates))
        # one gather for all chunks: the gradient of a gather has the size of all atoms
        inputs = [f.index_select(0, self.sender_index).split(self.n_senders)]
        inputs += [x.split(self.n_receivers) for x in (own, gates)]
        inputs += [x.split(self.n_slots) for x in edges if x is not None]

        def of_chunk(
            layout: NeighbourLayout, f: Tensor, own: Tensor, gates: Tensor, *of_edges: Tensor
        ) -> Tensor:
            return function(f, own, gates, type(edges)(*of_edges), layout)

        alike: list[bool] | None = [] if is_summed is not None and is_summed() else None
        runs = [partial(_run, s) if alike is None else partial(_sum, alike) for s in self.is_saved]
        chunks = zip(runs, self.layouts, *inputs, strict=True)
        stacked = torch.cat([run(of_chunk, *chunk) for run, *chunk in chunks])
        if self.order is not None:
            stacked = stacked.index_select(0, self.order)
        return stacked if alike is None else _Watched.apply(stacked, alike)


def _number_senders(senders: Tensor, n_slots: Sequence[int]) -> tuple[Tensor, Tensor, list[int]]:
    """The different senders of each chunk in turn, the number of each slot's sender among those of
    its chunk [P], and how many there are in each chunk.

    A GPU is waited for twice, however many chunks there are.
    """
    sizes = torch.from_numpy(np.array(n_slots)).to(senders.device)
    numbers = torch.arange(len(n_slots) + 1, device=senders.device)
    chunk = numbers[:-1].repeat_interleave(sizes, output_size=len(senders))
    different, index = torch.unique((chunk << 32) | senders, return_inverse=True)
    first = torch.searchsorted(different >> 32, numbers)
    counts: list[int] = first.diff().tolist()
    return different & (2**32 - 1), index - first.index_select(0, chunk), counts


class _Watched(torch.autograd.Function):
    """The tensor itself. Its backward pass appends to a list whether it weighs all elements alike,
    unless it is to be differentiable."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, alike: list[bool]) -> Tensor:
        ctx.alike = alike
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, *weights: Tensor) -> tuple[Tensor, None]:
        if not torch.is_grad_enabled():
            ctx.alike[:] = [bool((weights[0] == weights[0].flatten()[0]).all())]
        return weights[0], None


def _sum(alike: list[bool], *inputs: Any) -> Tensor:
    result: Tensor = _SummedGradients.apply(alike, *inputs)
    return result


class _SummedGradients(torch.autograd.Function):
    """``function(layout, *inputs)``, saving only the gradients of the sum of its results.

    They suffice for a backward pass that weighs the results of all chunks alike, as ``alike`` then
    tells (:class:`_Watched`). Any other, and one that is to be differentiable, evaluates the
    function again.
    """

    @staticmethod
    def forward(
        ctx: Any,
        alike: list[bool],
        function: Callable[..., Tensor],
        layout: NeighbourLayout,
        *inputs: Tensor,
    ) -> Tensor:
        ctx.called, ctx.alike = (function, layout), alike
        wanted = ctx.needs_input_grad[3:]
        leaves = [x.detach().requires_grad_(w) for x, w in zip(inputs, wanted, strict=True)]
        with torch.enable_grad():
            result = function(layout, *leaves)
        gradients = _gradients(result, leaves, torch.ones_like(result), create_graph=False)
        ctx.save_for_backward(*inputs, *gradients)
        return result.detach()

    @staticmethod
    def backward(ctx: Any, *weights: Tensor) -> tuple[Tensor | None, ...]:
        wanted, create_graph = ctx.needs_input_grad[3:], torch.is_grad_enabled()
        inputs = ctx.saved_tensors[: len(wanted)]
        if not create_graph and ctx.alike[0]:
            weight = weights[0].flatten()[0]
            gradients = [weight * each for each in ctx.saved_tensors[len(wanted) :]]
        else:
            function, layout = ctx.called
            with torch.enable_grad():
                result = function(layout, *inputs)
            gradients = _gradients(result, inputs, weights[0], create_graph)
        next_one = iter(gradients)
        return (None, None, None, *(next(next_one) if w else None for w in wanted))


def _run(saved: bool, function: Callable[..., Any], *inputs: Any) -> Any:
    """``function(*inputs)``, with activation checkpointing unless activations are saved."""
    if saved:
        return function(*inputs)
    return checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)


def _gradients(
    result: Tensor, inputs: Sequence[Tensor], weights: Tensor, create_graph: bool
) -> list[Tensor]:
    """Gradients of the weighted sum of the results in those inputs that require grad."""
    wanted = [x for x in inputs if x.requires_grad]
    if not wanted:
        return []
    return list(
        torch.autograd.grad(
            result, wanted, weights, create_graph=create_graph, materialize_grads=True
        )
    )
