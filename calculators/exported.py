"""Loads and calls a force field that `sikff export` has compiled; needs torch and NumPy alone.

This file imports nothing of sikff, so that it may be copied; every exported file holds it, too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

ACROSS = 1e-3  # Å; smaller components of cell vectors are rounding
MISFIT = 0.01  # Å, of cell vectors from translations of a surface
FLAT = 1e-6  # a cell whose volume is less, relative to the product of its lengths, has none


class ExportedModel:
    """An exported force field, with checks of all that it is called with.

    The compiled function itself reads memory as it was told to at its compilation: it checks
    neither shapes nor types, and is silently wrong for tensors that are not contiguous.

    Args:
        path: a file ``*.pt2`` written by `sikff export`.

    Attributes:
        metadata: elements, cutoff, units and inputs of the model, where it comes from, and more.
        cutoff: Å; neighbours nearer than this have to be given.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it was not written by `sikff export`.
    """

    def __init__(self, path: str | Path) -> None:
        if not Path(path).is_file():
            raise FileNotFoundError(f"no exported model {str(path)!r}")
        self.function = torch._inductor.aoti_load_package(str(path))
        stored = self.function.get_metadata()
        if "sikff" not in stored:
            raise ValueError(f"{str(path)!r} was not written by sikff export")
        self.metadata: dict[str, Any] = json.loads(stored["sikff"])
        self.cutoff: float = self.metadata["cutoff"]

    def __call__(
        self,
        positions: Any,
        numbers: Any,
        i: Any,
        j: Any,
        shifts: Any,
        cell: Any = None,
        **more: Any,
    ) -> dict[str, Tensor]:
        """Energy (eV), its parts, and derivatives, all float64, without gradients of their own.

        Takes what :meth:`tensors` takes, and raises what it raises.

        Returns:
            ``energy`` [], ``energies`` [N] of the atoms, ``forces`` [N, 3], ``strain_gradient``
            [3, 3], dE/dstrain (eV), and ``stress`` [3, 3] (eV/Å^3), NaN without a volume and in
            components that depend on the origin.
        """
        tensors = self.tensors(positions, numbers, i, j, shifts, cell, **more)
        results = self.function(*(tensors[each["name"]] for each in self.metadata["inputs"]))
        named = dict(zip(self.metadata["outputs"], results, strict=True))
        matrix, defined = tensors["cell"], torch.tensor(self.metadata["stress_defined"])
        defined = defined.to(matrix.device) | (tensors["surface"] < 0)
        volume = torch.linalg.det(matrix).abs()
        defined &= volume > FLAT * matrix.norm(dim=1).prod()
        return {**named, "stress": named["strain_gradient"] / volume.where(defined, torch.nan)}

    def tensors(
        self,
        positions: Any,
        numbers: Any,
        i: Any,
        j: Any,
        shifts: Any,
        cell: Any = None,
        *,
        field: Any = None,
        origin: Any = None,
        surface: str | None = None,
        charge: float = 0,
        spin: int | None = None,
    ) -> dict[str, Tensor]:
        """The arguments of the compiled function, by name, and the index of the surface.

        Args:
            positions: [N, 3] Å, of any type and layout, as all arrays and tensors here.
            numbers: atomic numbers [N].
            i, j, shifts: every pair within the cutoff, in both directions and any order, so that
                ``positions[j] - positions[i] + shifts @ cell`` is its vector; [E], [E], [E, 3]. As
                from ``neighbor_list("ijS", atoms, cutoff)`` of ASE, from matscipy or vesin.
            cell: [3, 3] Å, rows are vectors (default: none).
            field: uniform electric field [3], V/Å.
            origin: a point of the surface [3], Å (default: that of the model).
            surface: its name; "vacuum": none (default: the model's only one).
            charge: total charge, e.
            spin: multiplicity 2S + 1 (default, and 0: not specified).

        Raises:
            ValueError: for anything that the model does not know or read.
        """
        x, z = _array("positions", positions, (None, 3)), _array("numbers", numbers, (None,), True)
        matrix = _array("cell", np.zeros((3, 3)) if cell is None else cell, (3, 3))
        receivers, senders = (_array(name, k, (None,), True) for name, k in (("i", i), ("j", j)))
        crossed = _array("shifts", shifts, (len(receivers), 3), True)
        self._check_atoms(x, z, receivers, senders)
        index = self._surface_index(surface)
        if index >= 0:
            self._check_cell(matrix[crossed.any(axis=0)], index)
        values: dict[str, Any] = {"positions": x, "numbers": z, "cell": matrix, "surface": [index]}
        values |= _table(len(x), receivers, senders, crossed)
        values |= self._conditions(field, origin, charge, spin)
        return {  # as_tensor and tensor keep the order of a transposed array
            name: torch.tensor(np.ascontiguousarray(value), device=self.metadata["device"])
            for name, value in values.items()
        }

    def _check_atoms(
        self, positions: np.ndarray, numbers: np.ndarray, i: np.ndarray, j: np.ndarray
    ) -> None:
        n = len(positions)
        if len(numbers) != n or not n:
            raise ValueError(f"got {n} positions and {len(numbers)} numbers; expected as many, > 0")
        unknown = sorted(set(numbers.tolist()) - set(self.metadata["atomic_numbers"]))
        if unknown:
            raise ValueError(
                f"the model does not know the atomic numbers {unknown} (its elements: "
                f"{', '.join(self.metadata['elements'])})"
            )
        if len(i) != len(j):
            raise ValueError(f"i has {len(i)} indices, j {len(j)}; expected one of each for a pair")
        both = np.concatenate([i, j])
        if both.min(initial=0) < 0 or both.max(initial=0) >= n:
            raise ValueError(f"i and j hold {both.min()} to {both.max()}; expected 0 to {n - 1}")
        if (i < j).sum() != (i > j).sum():
            raise ValueError(
                f"{(i < j).sum()} pairs have i < j, {(i > j).sum()} i > j; expected a full "
                "neighbour list, with every pair in both directions"
            )

    def _surface_index(self, surface: str | None) -> int:
        names = self.metadata["surfaces"]  # None: the model sees no plane
        if surface == "vacuum" or (surface is None and names is None):
            return -1
        if surface is None and len(names) < 2:
            return 0
        if surface not in (names or ()):
            expected = "no name" if not names else f"one of {', '.join(names)}, vacuum"
            raise ValueError(f"surface is {surface!r}; the model expects {expected}")
        return int(names.index(surface))

    def _check_cell(self, periodic: np.ndarray, index: int) -> None:
        """Checks that vectors which neighbours cross repeat the surface."""
        if (abs(periodic @ self.metadata["normal"]) > ACROSS).any():
            raise ValueError(
                f"neighbours cross {periodic.round(4).tolist()}, which leads through the surface; "
                "make the structure open in this direction before neighbours are searched"
            )
        lattice = self.metadata["lattices"][index] if self.metadata["lattices"] else None
        if lattice is None or not len(periodic):
            return
        nearest = (periodic @ np.linalg.pinv(lattice)).round() @ lattice
        misfit = np.linalg.norm(periodic - nearest, axis=1).max()
        if misfit > MISFIT:
            raise ValueError(
                f"the cell vectors {periodic.round(4).tolist()} are {misfit:.2g} Å off whole "
                f"multiples of the lattice of the surface, {lattice}"
            )

    def _conditions(
        self,
        field: Any,
        origin: Any,
        charge: float,
        spin: int | None,
    ) -> dict[str, np.ndarray]:
        unpaired = spin - 1 if spin else 0
        read = {each["name"] for each in self.metadata["inputs"]}
        given = {
            "field": np.zeros(3) if field is None else _array("field", field, (3,)),
            "origin": np.full(3, np.inf) if origin is None else _array("origin", origin, (3,)),
            "charge": _array("charge", [charge], (1,), True).astype(float),
            "unpaired": _array("spin", [unpaired], (1,), True).astype(float),
        }
        for name, value in given.items():
            absent = np.inf if name == "origin" else 0
            if name not in read and (value != absent).any():
                raise ValueError(f"{name} is {value.tolist()}, which the model does not read")
        if unpaired < 0:
            raise ValueError(f"spin is {spin}; expected the multiplicity 2S + 1, at least 1")
        directions = np.array(self.metadata["field_directions"]).reshape(-1, 3)
        across = given["field"] - given["field"] @ directions.T @ directions
        if np.linalg.norm(across) > 1e-6 * np.linalg.norm(given["field"]):
            raise ValueError(
                f"field is {given['field'].tolist()} V/Å; the model reads it along "
                f"{directions.round(4).tolist()} alone"
            )
        if given["charge"].any() and given["field"].any():
            raise ValueError(f"charge is {charge} in a field; expected one of them")
        return given


def _array(name: str, value: Any, shape: tuple[int | None, ...], whole: bool = False) -> np.ndarray:
    """The values as float64, or int64 if they are whole numbers, of this shape and finite."""
    array = np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value)
    fits = array.ndim == len(shape) and all(
        n is None or n == size for n, size in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        size = ", ".join("any" if n is None else str(n) for n in shape)
        raise ValueError(
            f"{name} has shape {list(array.shape)} and type {array.dtype}; expected finite numbers "
            f"of shape [{size}]"
        )
    if whole and (array != array.round()).any():
        raise ValueError(f"{name} holds {array.flat[0]}; expected whole numbers")
    return array.astype(np.int64 if whole else np.float64)


def _table(
    n: int, receivers: np.ndarray, senders: np.ndarray, shifts: np.ndarray
) -> dict[str, np.ndarray]:
    """Neighbours in slots: senders [n, k], -1 where there is none, and shifts [n, k, 3]."""
    order = np.argsort(receivers, kind="stable")
    degree = np.bincount(receivers, minlength=n)
    k = max(4, -4 * (-degree.max() // 4))  # products of matrices are fast with multiples of four
    rows = receivers[order]
    slots = np.arange(len(rows)) - (degree.cumsum() - degree)[rows]
    table, crossed = np.full((n, k), -1), np.zeros((n, k, 3))
    table[rows, slots], crossed[rows, slots] = senders[order], shifts[order]
    return {"senders": table, "shifts": crossed}
