# ruff: noqa: UP006, UP035, UP045 - metatomic compares annotations with those of typing
"""Force fields as files ``*.pt`` of metatomic: TorchScript, made from the graph of operations."""

import json
import math
from pathlib import Path
from typing import Dict, List, Optional

import metatensor.torch as mts
import numpy as np
import torch
from metatensor.torch import Labels, TensorBlock, TensorMap
from metatomic.torch import (
    AtomisticModel,
    ModelCapabilities,
    ModelMetadata,
    ModelOutput,
    NeighborListOptions,
    System,
)
from torch import Tensor

from sikff.atomic_write import complete
from sikff.forcefield import ForceField

from .export import NOT_STATED, check_exportable, describe
from .exported import ACROSS, MISFIT
from .torchscript import quiet_torchscript, script_energies


def export_metatomic(model: ForceField, path: str | Path, licence: str = NOT_STATED) -> None:
    """Writes a model of metatomic, which computes energies, also of single atoms.

    Engines differentiate them. Weights keep their type; positions and energies are float64.

    Args:
        model: a force field that reads no field, and sees at most one surface.
        path: the file, ``*.pt``.
        licence: of the weights, for the description.

    Raises:
        ValueError: if it is another model.
        OSError: if the file cannot be written.
    """
    check_exportable(model)
    environment = model.config.environment
    if environment.field or len(environment.surfaces) > 1:
        what = "electric fields" if environment.field else "names of surfaces"
        raise ValueError(
            f"structures of metatomic have no {what}, which the model reads; export it to a file "
            ".pt2, whose function takes them"
        )
    energy = ModelOutput(unit="eV", sample_kind="atom", description="energy of the force field")
    description = describe(model, licence, "cpu")
    # shares of a charge depend on all atoms of a structure
    reach = math.inf if environment.totals else model.cutoff * model.config.layers
    capabilities = ModelCapabilities(
        outputs={"energy": energy},
        atomic_types=description["atomic_numbers"],
        interaction_range=reach,
        length_unit="angstrom",
        supported_devices=["cpu", "cuda"],
        dtype="float64",
    )
    metadata = ModelMetadata(
        name=f"sikff {model.config.group} force field for {', '.join(model.elements)}",
        description=f"licence of the weights: {licence}",
        extra={"sikff": json.dumps(description)},
    )
    found = AtomisticModel(MetatomicModel(model), metadata, capabilities)
    with quiet_torchscript(), complete(path) as temporary:
        found.save(temporary)


class MetatomicModel(torch.nn.Module):
    """Atomic energies of systems of metatomic."""

    normal: Tensor
    lattice: Tensor
    pseudoinverse: Tensor

    def __init__(self, model: ForceField) -> None:
        super().__init__()
        environment = model.config.environment
        self.energies = script_energies(model)
        self.neighbours = NeighborListOptions(cutoff=model.cutoff, full_list=True, strict=True)
        self.reads_charge, self.reads_spin = environment.charge, environment.spin
        self.has_plane = environment.plane_origin is not None
        self.register_buffer("normal", torch.tensor(model.environment.constants["normal"]))
        lattices = [wallpaper.lattice for wallpaper in environment.wallpapers] or [np.eye(3)]
        self.has_lattice = bool(environment.wallpapers)
        self.register_buffer("lattice", torch.tensor(lattices[0]))
        self.register_buffer("pseudoinverse", torch.tensor(np.linalg.pinv(lattices[0])))
        self.across, self.misfit = ACROSS, MISFIT
        self.eval()

    def requested_neighbor_lists(self) -> List[NeighborListOptions]:
        return [self.neighbours]

    def requested_inputs(self) -> Dict[str, ModelOutput]:
        inputs: Dict[str, ModelOutput] = {}
        if self.reads_charge:
            inputs["charge"] = ModelOutput(unit="e", sample_kind="system")
        if self.reads_spin:
            inputs["spin_multiplicity"] = ModelOutput(unit="", sample_kind="system")
        return inputs

    def forward(
        self,
        systems: List[System],
        outputs: Dict[str, ModelOutput],
        selected_atoms: Optional[Labels],
    ) -> Dict[str, TensorMap]:
        results: Dict[str, TensorMap] = {}
        if "energy" not in outputs or len(systems) == 0:
            return results
        energies: List[Tensor] = []
        samples: List[Tensor] = []
        for number, system in enumerate(systems):
            energies.append(self.energies_of(system))
            atoms = torch.arange(len(system), dtype=torch.int32, device=system.positions.device)
            samples.append(torch.stack([torch.full_like(atoms, number), atoms], dim=1))
        zero = torch.zeros(1, 1, dtype=torch.int32, device=energies[0].device)
        block = TensorBlock(
            values=torch.cat(energies).unsqueeze(1),
            samples=Labels(["system", "atom"], torch.cat(samples)),
            components=torch.jit.annotate(List[Labels], []),
            properties=Labels(["energy"], zero),
        )
        result = TensorMap(keys=Labels(["_"], zero), blocks=[block])
        if selected_atoms is not None:
            result = mts.slice(result, axis="samples", selection=selected_atoms)
        if outputs["energy"].sample_kind == "system":
            result = mts.sum_over_samples(result, ["atom"])
        results["energy"] = result
        return results

    def energies_of(self, system: System) -> Tensor:
        """Atomic energies [N] (eV)."""
        positions, cell, n = system.positions, system.cell, len(system)
        if n == 0:
            return positions.sum(dim=1)
        if self.has_plane:
            self.check_cell(cell[system.pbc])
        pairs = system.get_neighbor_list(self.neighbours).samples.values
        pairs = pairs[torch.argsort(pairs[:, 0], stable=True)]
        rows = pairs[:, 0].long()
        degree = torch.bincount(rows, minlength=n)
        k = max(4, 4 * ((int(degree.max()) + 3) // 4))  # as in exported.py
        first = degree.cumsum(0) - degree
        slots = k * rows + torch.arange(rows.shape[0], device=rows.device) - first[rows]
        senders = rows.new_full((n * k,), -1)
        senders[slots] = pairs[:, 1].long()
        shifts = positions.new_zeros((n * k, 3))
        shifts[slots] = pairs[:, 2:].to(positions.dtype)
        charge, unpaired = positions.new_zeros(1), positions.new_zeros(1)
        if self.reads_charge:
            charge = system.get_data("charge").block().values.reshape(1)
        if self.reads_spin:
            unpaired = system.get_data("spin_multiplicity").block().values.reshape(1) - 1
        table, shifts = senders.view(n, k), shifts.view(n, k, 3)
        numbers = system.types.long()
        energies: Tensor = self.energies(positions, numbers, cell, table, shifts, charge, unpaired)
        return energies

    def check_cell(self, periodic: Tensor) -> None:
        """Raises for periodic vectors that do not repeat the surface."""
        if bool((periodic @ self.normal).abs().gt(self.across).any()):
            raise ValueError(
                "a periodic direction leads through the surface of the model; make it open"
            )
        if self.has_lattice:
            nearest = (periodic @ self.pseudoinverse).round() @ self.lattice
            if bool((periodic - nearest).norm(2, dim=1).gt(self.misfit).any()):
                raise ValueError(
                    "periodic vectors are not whole multiples of the lattice of the surface"
                )
