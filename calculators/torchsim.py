"""Force fields as models of TorchSim, which moves many systems at once: extra `torchsim`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sikff.graph import StructureArrays, has_volume
from sikff.graph.conditions import CHARGE, FIELDS, NUMBERS, ORIGIN, SPIN, Conditions

from .ase_properties import check_parameters
from .structure_evaluator import REPLAY_AFTER, SKIN, Models, StructureEvaluator

try:
    from torch_sim.models.interface import ModelInterface
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"{error}; TorchSim comes with pip install 'sikff[torchsim]'", name=error.name
    ) from error

STATED = (*FIELDS, *NUMBERS[CHARGE], *NUMBERS[SPIN], ORIGIN)  # conditions that a state may have


class SIKFFModel(ModelInterface):
    """TorchSim model of a force field, or of a committee, whose mean it computes.

    Computes energy [B] (eV), forces [N, 3] (eV/Å) and stress [B, 3, 3] (eV/Å^3) in the dtype of the
    state; positions enter in float64. Stresses are NaN for systems without a cell of finite volume,
    and in components that depend on the origin of the coordinates, above a surface.

    Conditions are those given here, or those of each system: tensors of the state, attributes of a
    subclass or extras, with one row for each system: `electric_field` or `external_E_field` [B, 3]
    (V/Å), `charge` or `total_charge` [B] (e), `spin` or `total_spin` [B] (multiplicity) and
    `surface_origin` [B, 3] (Å).

    Args:
        model, device, dtype, skin, replay_after: as those of
            :class:`~sikff.calculators.SIKFFCalculator`.
        compute_stress: whether the stress is computed.
        state_dtype: dtype in which TorchSim makes states for this model.
        memory_scales_with: measure by which TorchSim fills batches. "n_atoms_x_density" counts
            neighbours in a periodic cell; for molecules take "n_edges" (TorchSim 0.6) or "n_atoms".
        **conditions: `electric_field`, `surface_origin`, `surface`, `charge` or `spin` of all.

    Raises:
        ValueError: as SIKFFCalculator.
    """

    def __init__(
        self,
        model: Models,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype | None = None,
        skin: float = SKIN,
        replay_after: int | None = REPLAY_AFTER,
        *,
        compute_stress: bool = True,
        state_dtype: torch.dtype = torch.float64,
        memory_scales_with: str = "n_atoms_x_density",
        **conditions: Any,
    ) -> None:
        super().__init__()
        check_parameters(conditions)
        self._conditions = conditions
        self._evaluator = StructureEvaluator.of(
            model, device, dtype, skin, replay_after=replay_after
        )
        self._device, self._dtype = self._evaluator.device, state_dtype
        self._compute_stress, self._compute_forces = compute_stress, True
        self._memory_scales_with = memory_scales_with

    @property
    def compute_stress(self) -> bool:
        """Whether the stress is computed."""
        return self._compute_stress

    @compute_stress.setter
    def compute_stress(self, compute_stress: bool) -> None:
        self._compute_stress = compute_stress

    @property
    def extrapolation_warnings(self) -> list[str]:
        """The warnings so far: what was outside the training data."""
        return list(self._evaluator.warned.values())

    def forward(self, state: Any, **_: Any) -> dict[str, Tensor]:
        """Energy, forces and, if computed, stress of all systems of a state, or of its dictionary.

        Raises:
            ValueError: for elements the model does not know, conditions it does not read, or atoms
                nearer than 0.1 Å to each other or to their own images.
            CalculationFailed: if a model returns NaN or infinity.
        """
        values = dict(state) if isinstance(state, dict) else _Attributes(state)
        positions: Tensor = values["positions"]
        structures = _structures(values)
        stress = self._compute_stress and any(map(has_volume, structures))
        conditions = self._conditions_of(values, len(structures))
        prediction = self._evaluator.mean(structures, conditions, stress=stress)
        results = {"energy": prediction.energy, "forces": prediction.forces}
        if stress:
            results["stress"] = prediction.stress
        elif self._compute_stress:
            results["stress"] = prediction.energy.new_full((len(structures), 3, 3), torch.nan)
        return {name: x.to(positions) for name, x in results.items() if x is not None}

    def _conditions_of(self, values: Any, n: int) -> list[Conditions]:
        """Of each system: what the state says, or what was given for all."""
        stated = {name: values.get(name) for name in STATED}
        columns = {
            name: np.asarray(x.tolist()) for name, x in stated.items() if isinstance(x, Tensor)
        }
        if not columns:
            return [Conditions.of(self._conditions)] * n
        wrong = {name: x.shape for name, x in columns.items() if x.shape[:1] != (n,)}
        if wrong:
            raise ValueError(f"the state has {wrong}; expected a row for each of {n} systems")
        rows = ({name: x[k] for name, x in columns.items()} for k in range(n))
        return [Conditions.of(row, self._conditions) for row in rows]


class _Attributes:
    """The attributes of a state, read as a mapping."""

    def __init__(self, state: Any) -> None:
        self.state = state

    def __getitem__(self, name: str) -> Any:
        return getattr(self.state, name)

    def get(self, name: str) -> Any:
        return getattr(self.state, name, None)


def _structures(values: Any) -> list[StructureArrays]:
    """The systems of a state as arrays on the CPU."""
    positions, numbers, cells = (
        values[name].detach().cpu().numpy() for name in ("positions", "atomic_numbers", "cell")
    )
    index, pbc = values.get("system_idx"), values["pbc"]
    sizes = [len(positions)] if index is None else torch.bincount(index).tolist()
    pbc = pbc.tolist() if isinstance(pbc, Tensor) else pbc
    cells = np.swapaxes(cells.reshape(-1, 3, 3), 1, 2)  # of columns, in TorchSim
    splits = np.cumsum(sizes)[:-1]
    rows = zip(np.split(positions, splits), np.split(numbers, splits), cells, strict=True)
    return [StructureArrays.of(x, z, cell, pbc) for x, z, cell in rows]
