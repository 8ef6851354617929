"""A force field as one flat list of tensor operations, compiled by torch for one set of atoms.

In molecular dynamics atoms stay the same and only move. So what depends on the weights and the
elements alone is computed once, the backward pass for the forces is written out, and the rest is
handed to ``torch.compile``. Sizes are fixed: every atom has room for the same number of neighbours,
and a place that is not needed points to a ghost atom beyond the cutoff of all others, where a force
field is exactly zero.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.node import map_arg

from sikff.conditions import Conditions
from sikff.forcefield.energy import EnergyModel, Prediction, strained, volumes
from sikff.forcefield.network import ForceField
from sikff.graph import AtomicGraph
from sikff.nn.neighbours import neighbour_layout

STEP = 8  # neighbours; the room for them grows by whole steps
MOVING = ("positions", "cell", "edge_index", "shifts", "field", "origin")
FIXED = ("species", "surface")

Backend = str | Callable[..., Any]
Slopes = tuple[Tensor, Tensor, Tensor]  # energies [N], dE/dpositions [N, 3], dE/dstrain [1, 3, 3]


class Compiled(EnergyModel):
    """A :class:`ForceField` compiled for the atoms that it meets, to be used in its place.

    The first call compiles, as does one with other atoms or more neighbours than there is room for:
    for minutes with the default backend, which needs a C++ compiler (on a GPU: Triton) and keeps
    what it made on disk for later processes. Dipoles come from the model itself.

    Args:
        model: the force field. Its weights must not change after this.
        backend: of ``torch.compile``; None: the list of operations runs as it is.

    Attributes:
        compilations: so far.
        seconds: that they took.
    """

    def __init__(self, model: ForceField, backend: Backend | None = "inductor") -> None:
        super().__init__()
        self.model, self.backend = model, backend
        self.cutoff, self.elements, self.surfaces = model.cutoff, model.elements, model.surfaces
        self.compilations, self.seconds = 0, 0.0
        self._function: Callable[..., Slopes] | None = None
        self._fixed: list[Tensor] = []
        self._room = 0
        self.eval()

    def forward(
        self, graph: AtomicGraph, forces: bool = True, stress: bool = False, dipole: bool = False
    ) -> Prediction:
        """As ``EnergyModel.forward``, for one structure.

        Raises:
            ValueError: as there, and for a graph of several structures.
            RuntimeError: if torch cannot compile on this machine.
        """
        if dipole:
            return self.model(graph, forces, stress, dipole)
        if graph.n_graphs != 1:
            raise ValueError(
                f"a compiled model takes one structure at a time; got {graph.n_graphs}. Use the "
                "model itself for batches"
            )
        volume = volumes(graph.cell) if stress else None
        with torch.no_grad():
            energies, slopes, strain_slopes = self._compiled(graph)(*self._moving(graph))
        return Prediction(
            energies.sum(0, keepdim=True),
            energies,
            -slopes if forces else None,
            None if volume is None else strain_slopes / volume[:, None, None],
        )

    def atomic_energies(self, graph: AtomicGraph) -> Tensor:
        return self.model.atomic_energies(graph)

    @property
    def field_directions(self) -> np.ndarray:
        return self.model.field_directions

    def check_conditions(self, conditions: Conditions) -> None:
        self.model.check_conditions(conditions)

    def beyond_training(self, graph: AtomicGraph) -> dict[str, str]:
        return self.model.beyond_training(graph)

    def _compiled(self, graph: AtomicGraph) -> Callable[..., Slopes]:
        """The function for these atoms and at least so many neighbours."""
        degree = int(torch.bincount(graph.edge_index[0], minlength=1).max())
        fixed = [getattr(graph, name) for name in FIXED]
        same = self._function is not None and all(map(torch.equal, fixed, self._fixed))
        if self._function is None or not same or degree > self._room:
            start = time.perf_counter()
            self._fixed, self._room = fixed, STEP * (1 + degree // STEP)
            flat = flattened(self.model, with_ghost(graph, self._room, 3 * self.cutoff))
            self._function = self._by_torch(flat, graph)
            self.compilations += 1
            self.seconds += time.perf_counter() - start
        return self._function

    def _by_torch(self, flat: GraphModule, graph: AtomicGraph) -> Callable[..., Slopes]:
        if self.backend is None:
            return flat
        function = torch.compile(flat, backend=self.backend, dynamic=False)
        try:
            function(*self._moving(graph))
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            raise RuntimeError(
                f"torch.compile failed ({reason}); on the CPU it needs a C++ compiler, such as "
                "g++, on a GPU Triton. Install it, or do not compile"
            ) from error
        return function

    def _moving(self, graph: AtomicGraph) -> list[Tensor]:
        padded = with_ghost(graph, self._room, 3 * self.cutoff)
        return [getattr(padded, name) for name in MOVING]


def with_ghost(graph: AtomicGraph, room: int, distance: float) -> AtomicGraph:
    """The same structure and one more atom, so far away that it feels and changes nothing.

    Every atom has exactly `room` neighbours, the first of them its own, the others the ghost. The
    neighbour of the ghost is atom 0.
    """
    n, device = graph.n_atoms, graph.positions.device
    receivers, senders = graph.edge_index
    degree = torch.bincount(receivers, minlength=n)
    start = torch.cumsum(degree, 0) - degree
    place = receivers * room + torch.arange(graph.n_edges, device=device) - start[receivers]
    all_senders = torch.full(((n + 1) * room,), n, device=device)
    all_senders[n * room :] = 0
    all_senders[place] = senders
    shifts = graph.shifts.new_zeros(len(all_senders), 3)
    shifts[place] = graph.shifts
    ghost = graph.positions.amax(0, keepdim=True) + distance
    return dataclasses.replace(
        graph,
        positions=torch.cat([graph.positions, ghost]),
        species=torch.cat([graph.species, graph.species[:1]]),
        edge_index=torch.stack(
            [torch.arange(n + 1, device=device).repeat_interleave(room), all_senders]
        ),
        shifts=shifts,
        batch=graph.batch.new_zeros(n + 1),
    )


def flattened(model: ForceField, padded: AtomicGraph) -> GraphModule:
    """Energies and their slopes as one list of operations on what moves, for a padded graph."""
    layout = neighbour_layout(padded.edge_index, padded.n_atoms, model.dtype)
    receivers = padded.edge_index[0]

    def energies_and_slopes(*moving: Tensor) -> Slopes:
        values = dict(zip(MOVING, moving, strict=True))
        senders = values["edge_index"][1]
        with torch.enable_grad():
            positions = values["positions"].detach().requires_grad_()
            strain = positions.new_zeros(1, 3, 3, requires_grad=True)
            values |= {"positions": positions, "edge_index": torch.stack([receivers, senders])}
            graph = strained(dataclasses.replace(padded, **values), strain)
            energies = model.atomic_energies(graph, layout._replace(senders=senders))[:-1]
            slopes = torch.autograd.grad(energies.sum(), (positions, strain))
        return energies.detach(), slopes[0][:-1], slopes[1]

    moving = [getattr(padded, name) for name in MOVING]
    return with_constants_folded(make_fx(energies_and_slopes)(*moving))


def with_constants_folded(traced: GraphModule) -> GraphModule:
    """The same function, with everything that does not depend on its inputs computed now."""
    known: dict[Node, Any] = {}
    for node in list(traced.graph.nodes):
        if node.op == "get_attr":
            known[node] = getattr(traced, str(node.target))
        elif node.op == "call_function" and all(n in known for n in node.all_input_nodes):
            args, kwargs = (map_arg(a, known.__getitem__) for a in (node.args, node.kwargs))
            known[node] = node.target(*args, **kwargs)
    for node, value in known.items():
        if node.op == "call_function" and not known.keys() >= node.users.keys():
            name = f"constant_{node.name}"
            traced.register_buffer(name, value.contiguous())
            with traced.graph.inserting_before(node):
                constant = traced.graph.get_attr(name)
            node.replace_all_uses_with(constant, delete_user_cb=lambda user: user not in known)
    traced.graph.eliminate_dead_code()
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced
