"""Distances that the training data have, pair by pair, and what a model does at others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from ase.data import atomic_numbers, covalent_radii
from ase.data.vdw_alvarez import vdw_radii
from torch import Tensor

from sikff.graph import AtomicGraph

BIN = 0.01  # Å
SLACK = 0.1  # Å; distances so near to one in the data count as seen
GAP = 0.5  # Å; distances in the data so near to each other are one interval
FADING = 0.5  # Å, beyond the largest distance seen
STIFFNESS = 200.0  # eV
BARRIER = 2.0  # eV
CONTACT = 0.9  # of the sum of van der Waals radii (Alvarez 2013)
UNKNOWN_RADIUS = 2.0  # Å, of elements without one
MET = 8  # elements, maybe itself among them, that a common element meets up to the cutoff
SEEN, UNSEEN, CONTINUED = 0, 1, 2

Intervals = tuple[tuple[float, float], ...]


def pair_name(first: str, second: str) -> str:
    """The key of a pair of elements: H-O, whatever their order."""
    return "-".join(sorted((first, second)))


def intervals(counts: np.ndarray, cutoff: float) -> Intervals:
    """Intervals (Å) of the distances in a histogram in bins of BIN; those nearer to each other than
    GAP are one, and one that ends so near to the cutoff reaches it."""
    occupied = np.flatnonzero(counts)
    if not len(occupied):
        return ()
    groups = np.split(occupied, np.flatnonzero(np.diff(occupied) * BIN > GAP) + 1)
    found = [(round(float(g[0]) * BIN, 2), round(float(g[-1] + 1) * BIN, 2)) for g in groups]
    if cutoff - found[-1][1] < GAP:
        found[-1] = (found[-1][0], cutoff)
    return tuple(found)


def usual_contacts(
    elements: Sequence[str], seen: Mapping[str, Intervals], cutoff: float
) -> dict[str, float]:
    """How near elements usually come to others, as a fraction of the sum of covalent radii.

    It is the median over the elements that one meets in the data at some distance and up to the
    cutoff (Å). Elements that meet fewer than MET are left out.
    """
    found = {}
    for element in elements:
        ratios = []
        for other in elements:
            met = seen.get(pair_name(element, other), ())
            if met and met[-1][1] >= cutoff - GAP:
                ratios.append(met[0][0] / _bond(element, other))
        if len(ratios) >= MET:
            found[element] = round(float(np.median(ratios)), 3)
    return found


def _bond(first: str, second: str) -> float:
    """The sum of covalent radii (Å)."""
    return float(covalent_radii[[atomic_numbers[first], atomic_numbers[second]]].sum())


class TrainedDistances(torch.nn.Module):
    """What a model does with pairs of atoms at distances that its training data do not have.

    In the data, and as far as SLACK from them, everything here is exactly zero. For a pair whose
    distances in the data end at a and b (Å, with the slack), or of which the data have none:

        E(r) = STIFFNESS (a / r - 1)^3            for r < a, the contact if there is no a
        E(r) = BARRIER (4 u (1 - u))^3            for b < r < contact, u = (r - b) / (contact - b)
        r -> r + (cutoff - b - w) ((r - b) / w)^3 for r > b, w = FADING, in the network alone

    So the pair repels where it never was, and the network does not see it any more from b + w on,
    or at all. The contact is CONTACT times the sum of van der Waals radii. All is C^2.

    With many elements some pairs are rare: what the data do not have of them is chance. Two
    elements with usual contacts, the mean of which times the sum of covalent radii is c, have
    a <= c and b = cutoff, whatever the data have of that pair.

    Args:
        elements: chemical symbols.
        seen: intervals of distances (Å) in the data, by :func:`pair_name`; pairs left out: none.
        cutoff: Å.
        contacts: of common elements (:func:`usual_contacts`).
    """

    near: Tensor
    far: Tensor
    contact: Tensor
    unseen: Tensor

    def __init__(
        self,
        elements: Sequence[str],
        seen: Mapping[str, Intervals],
        cutoff: float,
        contacts: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.elements, self.cutoff, self.contacts = tuple(elements), cutoff, dict(contacts or {})
        self.seen = {pair_name(*key.split("-")): value for key, value in seen.items()}
        self.n_bins = int(np.ceil(cutoff / BIN)) + 1
        pairs = [self._pair(first, second) for first in elements for second in elements]
        states, near, far, contact = zip(*pairs, strict=True)
        for name, values in (("near", near), ("far", far), ("contact", contact)):
            self.register_buffer(name, torch.tensor(values).double(), persistent=False)
        self._table = np.stack(states)
        self._table[:, -1] = SEEN  # beyond the cutoff, as candidates for neighbours may be
        self._table = self._table.flatten()
        self.register_buffer("unseen", torch.from_numpy(self._table > SEEN), persistent=False)
        self._codes: tuple[Tensor | None, np.ndarray] = (None, np.empty(0))  # of the last edges

    def _pair(self, first: str, second: str) -> tuple[np.ndarray, float, float, float]:
        """States of the bins, a, b and the contact of a pair; b is the cutoff if data reach it."""
        radii = np.nan_to_num(
            vdw_radii[[atomic_numbers[first], atomic_numbers[second]]], nan=UNKNOWN_RADIUS
        )
        contact = min(CONTACT * float(radii.sum()), self.cutoff)
        seen = self.seen.get(pair_name(first, second), ())
        states = np.full(self.n_bins, UNSEEN)
        slack = round(SLACK / BIN)
        bounds = [(round(low / BIN) - slack, round(high / BIN) + slack) for low, high in seen]
        for low, high in bounds:
            states[max(low, 0) : high] = SEEN
        if first in self.contacts and second in self.contacts:
            usual = _bond(first, second) * (self.contacts[first] + self.contacts[second]) / 2
            nearest = min([round(usual / BIN), *(low for low, _ in bounds)])
            states[: max(nearest, 0)] = CONTINUED
            return states, nearest * BIN, self.cutoff, 0.0
        if not seen:
            return np.full(self.n_bins, CONTINUED), contact, -FADING, 0.0
        near, far = bounds[0][0] * BIN, bounds[-1][1] * BIN
        states[: max(bounds[0][0], 0)] = CONTINUED
        if far + FADING >= self.cutoff:  # the network has an end of its own there
            return states, near, self.cutoff, 0.0
        states[bounds[-1][1] :] = CONTINUED
        if far >= contact:
            return states, near, far, 0.0
        return states, near, far, max(contact, far + 2 * FADING)  # highest where faded

    def state(self, graph: AtomicGraph) -> int:
        """SEEN, or UNSEEN if a pair is at a distance that the data do not have, or CONTINUED if
        that changes what the model does."""
        return int(self._states(graph, edge_lengths(graph)).max(initial=SEEN))

    def _states(self, graph: AtomicGraph, lengths: np.ndarray) -> np.ndarray:
        """State [E] of each pair, in NumPy, whose calls take a fraction of torch's."""
        edges, codes = self._codes
        if edges is not graph.edge_index:  # the same tensor while neighbours stay
            codes = self._pairs(graph).cpu().numpy() * self.n_bins
            self._codes = (graph.edge_index, codes)
        bins = np.minimum((lengths / BIN).astype(np.int64), self.n_bins - 1)
        return self._table.take(codes + bins)

    def is_outside(self, graph: AtomicGraph, lengths: Tensor) -> Tensor:
        """Whether a pair is at a distance that the data do not have: one bool, on the device of the
        graph, whose edges have the lengths [E] (Å)."""
        bins = (lengths / BIN).long().clamp(max=self.n_bins - 1)
        return self.unseen.take(self._pairs(graph) * self.n_bins + bins).any()

    def _pairs(self, graph: AtomicGraph) -> Tensor:
        first, second = graph.species.take(graph.edge_index)
        return first * len(self.elements) + second

    def energies(self, graph: AtomicGraph, lengths: Tensor) -> Tensor:
        """Energies [N] (eV, float64) of atoms whose pairs have the lengths [E] (Å)."""
        pairs, r = self._pairs(graph), lengths.double()
        near, far, contact = (
            each.double().take(pairs) for each in (self.near, self.far, self.contact)
        )
        energy = STIFFNESS * (near / r - 1).clamp(min=0) ** 3
        width = contact - far
        u = torch.where(width > FADING / 2, (r - far) / width.clamp(min=FADING / 2), 0.0)
        energy = energy + BARRIER * (4 * u * (1 - u)).clamp(min=0) ** 3
        return r.new_zeros(graph.n_atoms).index_add(0, graph.edge_index[0], 0.5 * energy)

    def faded(self, graph: AtomicGraph, vectors: Tensor, lengths: Tensor) -> Tensor:
        """Vectors [E, 3] that are longer the further pairs are beyond the data."""
        far = self.far.to(lengths).take(self._pairs(graph))
        beyond = ((lengths - far) / FADING).clamp(min=0) ** 3
        longer = (self.cutoff - far - FADING).clamp(min=0) * beyond
        return vectors * (1 + longer / lengths).unsqueeze(-1)

    def warning(self, graph: AtomicGraph) -> str | None:
        """A sentence on the nearest pair at a distance that the data do not have; None: no pair."""
        lengths = edge_lengths(graph)
        unseen = self._states(graph, lengths) > SEEN
        if not unseen.any():
            return None
        edge = int(np.where(unseen, lengths, np.inf).argmin())
        first, second = (
            self.elements[k] for k in graph.species[graph.edge_index[:, edge]].tolist()
        )
        seen = self.seen.get(pair_name(first, second), ())
        which = f"only {' and '.join(f'{a:g} to {b:g}' for a, b in seen)} Å" if seen else "none"
        return (
            f"atoms {first} and {second} are {float(lengths[edge]):.3g} Å apart, as no such pair "
            f"of the training data of the model ({which} within {self.cutoff:g} Å): what these "
            "atoms do to each other is not trained"
        )


def edge_lengths(graph: AtomicGraph) -> np.ndarray:
    """Lengths [E] (Å) of the edges, in NumPy."""
    if graph.n_graphs > 1 or graph.positions.device.type != "cpu":
        return graph.vectors().detach().norm(dim=-1).cpu().numpy()
    positions, edges, shifts, cell = (
        tensor.detach().cpu().numpy()
        for tensor in (graph.positions, graph.edge_index, graph.shifts, graph.cell)
    )
    receiver, sender = edges
    vectors = positions.take(sender, axis=0) - positions.take(receiver, axis=0) + shifts @ cell[0]
    return np.sqrt(np.einsum("ex,ex->e", vectors, vectors))
