"""Wrote the model files beside it and samples.json, with sikff 0.1.0 (model format 3).

It stands here to say what the files hold. Do not run it again: it would write the format of today,
and the files are there to show that models of yesterday still load.
"""

import json
from pathlib import Path

import ase
import torch
from ase.build import molecule

from sikff import ForceField, ForceFieldConfig, load
from sikff.forcefield import Prediction
from sikff.graph import AtomicGraph
from sikff.graph.conditions import Conditions

HERE = Path(__file__).parent
SMALL = {
    "elements": ["H", "C", "O"],
    "cutoff": 4.0,
    "channels": 2,
    "max_frequency": 2,
    "kernel_fields": 2,
    "kernel_width": 4,
    "radial_functions": 4,
    "species_channels": 2,
    "readout_width": 4,
    "average_neighbours": 4.0,
    "atomic_energies": {"H": -13.5, "C": -1030.0, "O": -2040.0},
    "energy_scale": 1.5,
}
MODELS = {
    "O3": {"zbl": True},
    "C_inf_v": {
        "group": "C_inf_v",
        "vacuum_group": "O(3)",
        "environment": {"field": True, "field_min": -0.3, "field_max": 0.3},
    },
    "ions": {"environment": {"charge": True, "spin": True, "charge_min": -1, "charge_max": 1}},
    "field": {"environment": {"field": True}},
    "places": {
        "vacuum_group": "O(3)",
        "environment": {
            "plane_origin": [0.0, 0.0, -2.0],
            "plane_range": 8.0,
            "lattice": [[3.0, 0.0], [0.0, 3.5]],
            "wallpaper": "pg",
        },
    },
    "C6v": {
        "group": "C6v",
        "axis": [0.6, 0.0, 0.8],
        "environment": {"plane_origin": [0.0, 0.0, -2.0], "plane_range": 8.0},
    },
}
ION = {"charge": -1, "spin": 2}


def structure() -> tuple[ase.Atoms, list[float]]:
    """Methanol in a skewed periodic cell, and a field along z."""
    atoms = molecule("CH3OH", cell=[[7.0, 0.0, 0.0], [0.5, 6.0, 0.0], [0.0, 0.3, 6.5]], pbc=True)
    atoms.rattle(0.1, seed=0)
    return atoms, [0.0, 0.0, 0.2]


def predict(model: ForceField, atoms: ase.Atoms, field: list[float]) -> Prediction:
    given = Conditions(tuple(field)) if model.config.environment.field else Conditions()
    if model.config.environment.charge:
        given = Conditions(**ION)
    return model(
        AtomicGraph.from_atoms(atoms, model.cutoff, model.elements, conditions=given), True, True
    )


def main() -> None:
    atoms, field = structure()
    samples = {
        "symbols": atoms.get_chemical_symbols(),
        "positions": atoms.positions.tolist(),
        "cell": atoms.cell.tolist(),
        "field": field,
        "ion": ION,
        "models": {},
    }
    for name, options in MODELS.items():
        torch.manual_seed(0)
        model = ForceField(ForceFieldConfig.model_validate({**SMALL, **options}))
        for parameter in model.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.2)
        path = HERE / f"{name}.sikff"
        model.save(path, {"program": "sikff 0.1.0"})
        prediction = predict(load(path, dtype="float64"), atoms, field)
        samples["models"][name] = {
            "energy": prediction.energy.item(),
            "forces": prediction.forces.tolist(),
            "stress": prediction.stress[0].tolist(),
        }
    (HERE / "samples.json").write_text(json.dumps(samples, indent=1) + "\n")


if __name__ == "__main__":
    main()
