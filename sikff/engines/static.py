"""A force field as one flat list of tensor operations, for one size of input.

The backward pass for the forces is written out, and the list is compiled by torch, or replayed as
it is. Sizes are fixed: there is room for so many structures and atoms, and so many neighbours of
every atom. A place that is not needed belongs to a ghost: an atom beyond the cutoff of all others,
where a force field is exactly zero. In molecular dynamics atoms stay the same and only move, so
what depends on the weights and the elements alone is computed once; in training it is not.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sikff.engines.inductor import Backend, compiled_by_torch, flattened, with_constants_folded
from sikff.engines.padding import FIXED, MOVING, OF_EDGES, Room, Rows, joined, padded
from sikff.engines.recorder import NotReplayableError
from sikff.engines.replay import Replay
from sikff.forcefield.chunks import are_small
from sikff.forcefield.energy import EnergyModel, Prediction, strained, stresses
from sikff.forcefield.force_field import ForceField
from sikff.graph import AtomicGraph
from sikff.graph.conditions import Conditions
from sikff.nn.neighbour_table import neighbour_layout

STEP = 4  # neighbours; the room for them grows by whole steps, by two where compiling takes minutes
MOST_PLACES = 2  # for each neighbour: with more, as around a few crowded atoms, replaying is slower
ATOMS = tuple(name for name in FIXED if name != "real")  # what makes atoms the same ones

Slopes = tuple[Tensor, ...]  # energies [N], dE/dpositions [N, 3], perhaps dE/dstrain [B, 3, 3]


class Compiled(EnergyModel):
    """A :class:`ForceField` compiled for the atoms that it meets, to be used in its place.

    The first call compiles, as does one with other atoms or more neighbours than there is room for:
    for minutes with the default backend, which needs a C++ compiler (on a GPU: Triton) and keeps
    what it made on disk for later processes. Dipoles come from the model itself.

    Args:
        model: the force field. Its weights may change through this model only.
        backend: of ``torch.compile``; None: the list of operations is replayed, see
            :class:`Replay`, which is prepared in the time of some four calls, without compiler.

    Attributes:
        compilations: so far.
        seconds: that they took.
        room: of what is compiled.
    """

    def __init__(self, model: ForceField, backend: Backend | None = "inductor") -> None:
        super().__init__()
        self.model, self.backend = model, backend
        self.cutoff, self.elements, self.surfaces = model.cutoff, model.elements, model.surfaces
        self.compilations, self.seconds = 0, 0.0
        self._function: Callable[..., Slopes] | None = None  # of the atoms
        self._atoms: list[Tensor] = []  # of the last call
        self._edges: list[Tensor] = []  # of the last call
        self._rows: Rows | None = None  # of these edges
        self._padded_edges: dict[str, Tensor] = {}  # what of them is padded, in this room
        self.room = Room(1, 0, 0)
        self._has_stress = False
        self.eval()

    def __getstate__(self) -> dict[str, Any]:
        """A copy compiles anew: what is compiled belongs to its process and its memory."""
        return self.__dict__ | {"_function": None, "_edges": [], "_rows": None, "_padded_edges": {}}

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
        self._meet(graph)
        return self._predicted(graph, self._rows_of(graph), forces, stress)

    def thaw(self) -> None:
        super().thaw()
        self._function, self._atoms, self._rows, self._padded_edges = None, [], None, {}

    def atomic_energies(self, graph: AtomicGraph) -> Tensor:
        return self.model.atomic_energies(graph)

    @property
    def field_directions(self) -> np.ndarray:
        return self.model.field_directions

    def check_conditions(self, conditions: Conditions) -> None:
        self.model.check_conditions(conditions)

    def beyond_training(self, graph: AtomicGraph) -> dict[str, str]:
        return self.model.beyond_training(graph)

    def _meet(self, graph: AtomicGraph) -> bool:
        """Whether the atoms are those of the last call; else what is compiled is dropped."""
        atoms = [getattr(graph, name) for name in ATOMS]
        known = len(self._atoms) > 0 and all(
            now is then or torch.equal(now, then)
            for now, then in zip(atoms, self._atoms, strict=True)
        )
        if not known:
            self._function = None
        self._atoms = atoms
        return known

    def _rows_of(self, graph: AtomicGraph) -> Rows:
        """Those of the edges; what is known of them stays as long as they are the same tensors."""
        edges = [graph.edge_index, graph.shifts]
        if self._rows is None or any(
            now is not then for now, then in zip(edges, self._edges, strict=True)
        ):
            self._edges, self._rows, self._padded_edges = edges, Rows.of(graph), {}
        return self._rows

    def _predicted(self, graph: AtomicGraph, rows: Rows, forces: bool, stress: bool) -> Prediction:
        """That for these atoms; compiles if neighbours or the stress do not fit.

        What takes minutes to compile always has the stress, what is replayed once it was asked for.
        """
        has_stress = stress or self.backend is not None or self._has_stress
        function, room, most = self._function, self.room, rows.longest
        if function is None or most > room.neighbours:
            step = STEP if self.backend is None else 2 * STEP
            spare = 0 if function is None else step // 2  # more room where it has been too little
            room = Room(1, graph.n_atoms + 1, step * (1 + (most + spare) // step))
        if room != self.room or has_stress != self._has_stress:
            function = None
        with torch.no_grad():
            if function is None:
                function = self._prepared(graph, rows, room, has_stress)
            new = [name for name in MOVING if name not in self._padded_edges]
            parts = self._padded_edges | padded(graph, rows, room, self.cutoff, new)
            if not self._padded_edges:
                self._padded_edges = {name: parts[name] for name in OF_EDGES}
            found = function(*(parts[name] for name in MOVING))
        energy, energies, own_forces, *slopes = found
        return Prediction(
            energy,
            energies,
            own_forces if forces else None,
            stresses(slopes[0], graph.cell) if stress else None,
        )

    def _prepared(
        self, graph: AtomicGraph, rows: Rows, room: Room, stress: bool
    ) -> Callable[..., Slopes]:
        """The energy [1], energies, forces and perhaps dE/dstrain by the parts that move."""
        start, n = time.perf_counter(), graph.n_atoms
        parts = padded(graph, rows, room, self.cutoff)
        self._padded_edges = {name: parts[name] for name in OF_EDGES}
        tensors = [parts[name] for name in MOVING]
        with_ghosts = energies_and_slopes(self.model, parts, MOVING, room, stress)

        def asked(*tensors: Tensor) -> Slopes:
            energies, slopes, *strain_slopes = with_ghosts(*tensors)
            energies = energies[:n]
            return energies.sum(0, keepdim=True), energies, -slopes[:n], *strain_slopes

        if self.backend is None:
            function: Callable[..., Slopes] = Replay(asked, tensors)
        else:
            flat = with_constants_folded(flattened(asked, tensors))
            function = compiled_by_torch(flat, tensors, self.backend)
        self._function, self.room, self._has_stress = function, room, stress
        self.compilations += 1
        self.seconds += time.perf_counter() - start
        return function


class Replayed(Compiled):
    """A :class:`ForceField` whose operations are replayed when the same atoms come again and again.

    Until then, for operations that cannot be replayed (after a warning), for large systems or a few
    crowded atoms among many, and on other devices than a CPU, the model itself answers. Other atoms
    in between start this again.

    Args:
        model: the force field. Its weights may change through this model only.
        patience: calls with the same atoms until they are replayed.
    """

    def __init__(self, model: ForceField, patience: int) -> None:
        super().__init__(model, backend=None)
        self.patience: float = patience
        self._calls = 0  # with the same atoms

    def forward(
        self, graph: AtomicGraph, forces: bool = True, stress: bool = False, dipole: bool = False
    ) -> Prediction:
        """As ``EnergyModel.forward``, for one structure or several."""
        if not dipole and graph.n_graphs == 1 and graph.positions.device.type == "cpu":
            self._calls = self._calls + 1 if self._meet(graph) else 1
            if self._calls > self.patience:
                rows = self._rows_of(graph)
                if self._pays(graph, rows):
                    try:
                        return self._predicted(graph, rows, forces, stress)
                    except NotReplayableError as error:
                        warnings.warn(not_replayed(error), stacklevel=2)
                        self.patience = math.inf
        return self.model(graph, forces, stress, dipole)

    def _pays(self, graph: AtomicGraph, rows: Rows) -> bool:
        """Whether it is faster, by the number of places for neighbours."""
        places = graph.n_atoms * rows.longest
        small = are_small(places, self.model.row, graph.positions.device)
        return small and places <= MOST_PLACES * graph.n_edges


def not_replayed(error: NotReplayableError) -> str:
    """What to tell who must do without."""
    return f"operations of torch {torch.__version__} are not replayed, which is slower: {error}"


def energies_and_slopes(
    model: ForceField,
    parts: Mapping[str, Tensor],
    names: Sequence[str],
    room: Room,
    stress: bool = True,
    again: bool = False,
) -> Callable[..., Slopes]:
    """Energies and slopes of atoms and ghosts as a function of parts of their graph.

    Args:
        model: the force field.
        parts: all parts of a padded graph.
        names: of those that are inputs; the others do not change.
        room: its size.
        stress: whether to take the slope in the strain.
        again: whether the result can be differentiated by the weights.
    """
    graph = joined(parts, room)
    layout = neighbour_layout(graph.edge_index, graph.n_atoms, model.dtype)
    receivers = graph.edge_index[0]

    def function(*tensors: Tensor) -> Slopes:
        values = {**parts, **dict(zip(names, tensors, strict=True))}
        senders, real = values.pop("senders"), values.pop("real")
        with torch.enable_grad():
            positions = values["positions"].detach().requires_grad_()
            strain = positions.new_zeros(graph.n_graphs, 3, 3, requires_grad=stress)
            values |= {"positions": positions, "edge_index": torch.stack([receivers, senders])}
            moved = AtomicGraph(**values)
            if stress:
                moved = strained(moved, strain)
            in_places = layout._replace(senders=layout.in_places(senders))
            energies = real * model.atomic_energies(moved, in_places)
            asked = (positions, strain) if stress else (positions,)
            slopes = torch.autograd.grad(energies.sum(), asked, create_graph=again)
        return energies if again else energies.detach(), *slopes

    return function
