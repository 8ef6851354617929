"""A force field evaluated in fixed shapes: its operations are listed once and run again and again.

Neighbours are in a table with so many slots for every atom. The backward pass for the forces is
written out. The list of operations is replayed, or compiled by torch.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from operator import is_
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor

from sikff.engines.cuda_graph import CudaGraph
from sikff.engines.inductor import Function, inductor
from sikff.engines.padding import (
    Capacity,
    EdgeRows,
    nearer,
    neighbour_table,
    padded,
    without_candidates,
)
from sikff.engines.replay import Replay
from sikff.forcefield.chunks import fits_in_one_chunk
from sikff.forcefield.energy import Prediction, differentiate, fetch, stresses, total
from sikff.forcefield.force_field import ForceField
from sikff.graph import AtomicGraph
from sikff.nn.neighbour_table import NeighbourTable
from sikff.plain_torch import plain_autograd

# A chosen number of slots is a multiple of this: empty slots cost time at every call, and a larger
# capacity a preparation. Where that takes minutes, of four times as many.
STEP = 4
MOST_SLOTS = 2  # for each neighbour: with more, as around a few crowded atoms, replaying is slower
# Tensors of a graph that change as atoms move, and those that do not; edges are in a table.
MOVING = ("positions", "field", "origin", "charge", "unpaired")
CONSTANT = ("species", "batch", "surface")


class Backend(Protocol):
    """Makes a function fast for inputs of the shapes of an example.

    The results are differentiable in the weights, if any, whose values may change in place.
    """

    def __call__(
        self, function: Function, example: Sequence[Tensor], weights: Sequence[Tensor], /
    ) -> Function: ...


BACKENDS: Mapping[str, Backend] = {
    "replay": Replay,
    "inductor": inductor,
    "cuda_graph": CudaGraph,
}


def backend_for(device: torch.device) -> str:
    """The backend without a compiler for a device."""
    return "cuda_graph" if device.type == "cuda" else "replay"


class History(NamedTuple):
    """What the rounding of later results of an evaluator depends on, besides their graphs."""

    calls: int  # with the same atoms, as far as they are counted
    neighbours: int  # slots of every atom; 0: nothing was evaluated in fixed shapes


class Static:
    """Evaluates a :class:`ForceField` in fixed shapes.

    It prepares itself at the first call, and when atoms, stress or neighbours no longer fit. That
    takes as long as some four calls for the backend "replay", and minutes for "inductor", which
    needs a C++ compiler (on a GPU: Triton) and caches results on disk for later processes. It may
    be shared by threads, which take turns. The model itself computes dipoles and, on a CPU,
    structures where the training data end (:meth:`ForceField.is_continued`).

    On a GPU nothing is read back in a call but the results, all at once: they are on the host,
    unless a capacity is given or they are differentiable. Else edges may be candidates there, of
    which those beyond the cutoff are left out on the device.

    Args:
        model: the force field. After changes of single weights in place call ``model.thaw()``.
        capacity: shape of all inputs; None: that of the structure, which grows with its
            neighbours. On a GPU, results for an atom with more neighbours than given are NaN.
        backend: "replay" (see :class:`~sikff.engines.replay.Replay`), "cuda_graph" (see
            :class:`~sikff.engines.cuda_graph.CudaGraph`), "inductor", or a :class:`Backend`.
        differentiable: for training: results are differentiable in the weights, which may change
            in place; except with "inductor" once, before the next call. Else the elements of the
            atoms, their structures and the weights are constants.

    Attributes:
        capacity: at present.
        least_neighbours: slots of an atom that a capacity has at least, if none is given.
        compilations: number of preparations so far.
        seconds: time that they took.
    """

    def __init__(
        self,
        model: ForceField,
        capacity: Capacity | None = None,
        backend: str | Backend = "replay",
        differentiable: bool = False,
    ) -> None:
        if isinstance(backend, str) and backend not in BACKENDS:
            raise ValueError(f"backend is {backend!r}; expected one of {', '.join(BACKENDS)}")
        self.model, self.capacity, self.differentiable = model, capacity, differentiable
        self.backend = BACKENDS[backend] if isinstance(backend, str) else backend
        self.compilations, self.seconds = 0, 0.0
        self.least_neighbours = 0
        self._given = capacity
        # without and with stress, for dtypes of positions
        self._functions: dict[tuple[bool, torch.dtype], Function] = {}
        self._constants: tuple[Tensor, ...] = ()  # of the functions
        self._version = model.version  # of the weights in the functions
        self._edges: tuple[Tensor | None, Tensor | None] = (None, None)  # of the last call
        self._rows = EdgeRows(torch.zeros(0), torch.zeros(()), 0)  # of these edges
        self._table: NeighbourTable | None = None  # of these edges, and
        self._table_cell: Tensor | None = None  # with this cell
        self._table_capacity: Capacity | None = None
        # On a GPU without a given capacity: slots for the candidates within the cutoff, and how
        # many there were in the last call.
        self._selected: int | None = None
        self._needed: int | None = None
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy prepares itself anew: functions belong to their process and its memory."""
        return type(self), (self.model, self._given, self.backend, self.differentiable)

    def __call__(
        self, graph: AtomicGraph, forces: bool = True, stress: bool = False, dipole: bool = False
    ) -> Prediction:
        """As :meth:`EnergyModel.forward`.

        Raises:
            ValueError: as there, and for a graph beyond a given capacity.
            NotReplayableError: if the backend cannot replay an operation of this torch.
            RuntimeError: if torch cannot compile on this machine.
        """
        return self.predict(graph, forces, stress, dipole)[0]

    def predict(
        self, graph: AtomicGraph, forces: bool = True, stress: bool = False, dipole: bool = False
    ) -> tuple[Prediction, Tensor | None]:
        """The prediction and, on a GPU, whether it extrapolates in heights and distances, [2] bool
        (see :meth:`ForceField.is_extrapolating`); None: that is not known."""
        device = graph.positions.device
        if dipole or (device.type == "cpu" and self.model.is_continued(graph)):
            graph = without_candidates(graph, self.model.cutoff)
            return self.model(graph, forces, stress, dipole), None
        recording = self.differentiable and torch.is_grad_enabled()
        with self._lock, plain_autograd(device), torch.set_grad_enabled(recording):
            while True:
                energy, energies, of_atoms, *others = self._results(graph, stress)
                strain, flags = others[:stress], others[stress:]
                prediction = Prediction(
                    energy[: graph.n_graphs],
                    energies[: graph.n_atoms],
                    of_atoms[: graph.n_atoms] if forces else None,
                    stresses(strain[0][: graph.n_graphs], graph.cell) if stress else None,
                )
                if not flags:
                    return prediction, None
                *found, extrapolates, needed = fetch([*prediction, *flags])
                self._needed = int(cast(Tensor, needed))
                if self._needed <= cast(int, self._selected):
                    return Prediction._make(found), extrapolates
                self._functions.clear()  # neighbours are missing: once more, with more slots

    def _results(self, graph: AtomicGraph, stress: bool) -> tuple[Tensor, ...]:
        """Those of the function of this graph, which is prepared if there is none that fits."""
        key = (bool(stress), graph.positions.dtype)
        rows = self._rows_of(graph)
        capacity = self._choose_capacity(graph, rows)
        table = self._table_of(graph, capacity, rows)
        if self._given is not None:  # ghosts share the charge of a structure of their own
            capacity = capacity._replace(structures=capacity.structures + 1)
        inputs = table._asdict() | padded(graph, capacity, MOVING)
        if self.differentiable:
            inputs |= _constants(graph, capacity)
        if not self._functions and self._needed is not None:
            self._selected = min(_rounded(self._needed + STEP, 4 * STEP), capacity.neighbours)
        if key not in self._functions:
            constants = {} if self.differentiable else _constants(graph, capacity)
            self._functions[key] = self._compile_function(inputs, constants, stress)
        return self._functions[key](*inputs.values())

    @property
    def history(self) -> History:
        """What the rounding of later results depends on, besides their graphs."""
        return History(0, 0 if self.capacity is None else self.capacity.neighbours)

    def resume(self, history: History) -> None:
        """Makes later results round as those of the evaluator that had this history."""
        self.least_neighbours = history.neighbours

    def is_faster(self, graph: AtomicGraph) -> bool:
        """Whether this is faster than the model itself: for small systems, and replaying on a CPU
        alone."""
        device = graph.positions.device
        if self._given is not None:
            return True
        if device.type != "cpu" and self.backend is Replay:
            return False
        with self._lock:
            rows = self._rows_of(graph)
            slots = graph.n_atoms * (self._needed or rows.degree or 0)
        small = fits_in_one_chunk(slots, self.model.sender_bytes, device)
        return small and slots <= MOST_SLOTS * graph.n_edges

    def _rows_of(self, graph: AtomicGraph) -> EdgeRows:
        """Those of the edges, cached as long as these are the same tensors."""
        edges = (graph.edge_index, graph.shifts)
        if not all(map(is_, edges, self._edges)):
            # a given capacity is for all graphs: then a GPU is not waited for
            read = self._given is None or graph.positions.device.type == "cpu"
            self._edges, self._rows, self._table = edges, EdgeRows.of(graph, read), None
            selects = self._given is None and not self.differentiable
            if selects and graph.positions.device.type != "cpu":
                self._needed = EdgeRows.of(graph.within(self.model.cutoff)).degree
        return self._rows

    def _table_of(self, graph: AtomicGraph, capacity: Capacity, rows: EdgeRows) -> NeighbourTable:
        """That of the edges, cached as long as these, the cell and the capacity are the same."""
        if (
            self._table is None
            or capacity != self._table_capacity
            or graph.cell is not self._table_cell
        ):
            self._table = neighbour_table(
                graph,
                self.model.cutoff,
                capacity.neighbours,
                capacity.atoms,
                self.model.dtype,
                rows,
            )
            self._table_capacity, self._table_cell = capacity, graph.cell
        return self._table

    def _choose_capacity(self, graph: AtomicGraph, rows: EdgeRows) -> Capacity:
        """The capacity for a graph; drops functions that do not fit."""
        constants = () if self.differentiable else (graph.species, graph.batch, graph.surface)
        same = len(constants) == len(self._constants) and same_tensors(constants, self._constants)
        if not same or self._version != self.model.version:
            self._functions.clear()
            self._constants, self._version = constants, self.model.version
        if self._given is not None:
            if any(a > b for a, b in zip(_size(graph, rows), self._given, strict=True)):
                raise ValueError(f"{_size(graph, rows)} is beyond the capacity, {self._given}")
            return self._given
        old, new = self.capacity, _size(graph, rows)
        if self._functions and old is not None:
            if old[:2] == new[:2] and old.neighbours >= new.neighbours:
                return old
            self._functions.clear()
        step = STEP if self.backend is Replay else 4 * STEP
        slots = max(self.least_neighbours, _rounded(new.neighbours, step))
        self.capacity = new._replace(neighbours=slots)
        return self.capacity

    def _compile_function(
        self, inputs: dict[str, Tensor], constants: dict[str, Tensor], stress: bool
    ) -> Function:
        """The function of the inputs: energy, energies, forces, perhaps dE/dstrain, flags."""
        start = time.perf_counter()
        selected, on_device = self._selected, inputs["positions"].device.type != "cpu"
        weights = [w for w in self.model.parameters() if w.requires_grad and self.differentiable]

        def function(*tensors: Tensor) -> tuple[Tensor, ...]:
            values = constants | dict(zip(inputs, tensors, strict=True))
            table = NeighbourTable(*(values.pop(name) for name in NeighbourTable._fields))
            real, flags = values.pop("real"), list[Tensor]()
            padded_graph = _without_edges(values)
            if selected is not None:
                table, most = nearer(table, padded_graph.positions, self.model.cutoff, selected)
                flags = [self.model.is_extrapolating(padded_graph, table), most]

            def energies_of(graph: AtomicGraph, table: NeighbourTable) -> Tensor:
                return real * self.model.atomic_energies(graph, table, on_device)

            found = differentiate(
                energies_of,
                padded_graph,
                stress=stress,
                create_graph=self.differentiable,
                table=table,
            )
            energies = found.energies if self.differentiable else found.energies.detach()
            forces = -cast(Tensor, found.positions)
            strain = [] if found.strain is None else [found.strain]
            return total(energies, padded_graph), energies, forces, *strain, *flags

        with torch.set_grad_enabled(self.differentiable):  # also if the first call records nothing
            prepared = self.backend(function, list(inputs.values()), weights)
        self.compilations += 1
        self.seconds += time.perf_counter() - start
        return prepared


def same_tensors(some: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    """Whether tensors are the same objects, or have the same device, shapes and values."""
    pairs = zip(some, others, strict=True)
    return all(
        one is other or (one.device == other.device and torch.equal(one, other))
        for one, other in pairs
    )


def _constants(graph: AtomicGraph, capacity: Capacity) -> dict[str, Tensor]:
    """Padded tensors that stay as atoms move; ``real`` [N] is 1 for atoms and 0 for ghosts."""
    real = torch.arange(capacity.atoms, device=graph.positions.device) < graph.n_atoms
    return padded(graph, capacity, CONSTANT) | {"real": real.double()}


def _rounded(slots: int, step: int) -> int:
    return max(1, -(-slots // step)) * step


def _size(graph: AtomicGraph, rows: EdgeRows) -> Capacity:
    return Capacity(graph.n_graphs, graph.n_atoms, rows.degree or 0)


def _without_edges(tensors: Mapping[str, Tensor]) -> AtomicGraph:
    """A graph whose edges are in a table, which holds the offsets that a cell makes, too."""
    positions = tensors["positions"]
    return AtomicGraph(
        **tensors,
        cell=positions.new_zeros(len(tensors["field"]), 3, 3),
        edge_index=torch.zeros(2, 0, dtype=torch.int64, device=positions.device),
        shifts=positions.new_zeros(0, 3),
    )
