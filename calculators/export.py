"""Force fields as one compiled file, ``*.pt2``, that needs torch alone, by AOTInductor."""

from __future__ import annotations

import copy
import io
import json
import shutil
import warnings
from pathlib import Path
from typing import Any, cast

import ase
import numpy as np
import torch
from ase.data import atomic_numbers
from torch.export import Dim

from sikff import __version__
from sikff.atomic_write import complete
from sikff.forcefield import EnergyModel, ForceField
from sikff.forcefield.model_file import CONVENTIONS, UNITS
from sikff.graph import AtomicGraph
from sikff.graph.conditions import NO_FIELD, Conditions

from . import exported
from .prepare_models import chosen_device
from .table_form import inputs_of, trace_derivatives

FORMAT, FORMAT_VERSION = "sikff-exported", 1
OUTPUTS = {
    "energy": "[] eV",
    "energies": "[N] eV, of the atoms",
    "forces": "[N, 3] eV/Å",
    "strain_gradient": "[3, 3] eV, dE/dstrain; stress = strain_gradient / volume",
}
PARITY = {torch.float32: 1e-4, torch.float64: 1e-9}  # relative error by which none may differ
# On one thread: for small systems, and one of many processes, as engines run them.
SETTINGS = {"cpp.threads": 1}
NOT_STATED = "not stated"


def export_compiled(
    model: ForceField, path: str | Path, licence: str = NOT_STATED, device: str = "cpu"
) -> None:
    """Writes the function of :func:`trace_derivatives`, compiled, with a description of the model.

    It takes one to two minutes, and is for machines that have the instructions of this one. Read
    it with :class:`~sikff.calculators.exported.ExportedModel`, which is in the file, too.

    Args:
        model: a force field.
        path: the file, ``*.pt2``.
        licence: of the weights, for the description.
        device: where it will run: cpu or cuda.

    Raises:
        ValueError: if the model is no :class:`ForceField`, or for a device that torch cannot use.
        OSError: if the file cannot be written, or torch cannot compile on this machine.
        RuntimeError: if the compiled function is wrong.
    """
    check_exportable(model)
    chosen_device(device)
    check_compiler()
    model = copy.deepcopy(model).to(device).eval()
    metadata = {
        "sikff": json.dumps(describe(model, licence, device)),
        "loader": Path(exported.__file__).read_text(encoding="utf-8"),
    }
    with warnings.catch_warnings():  # of torch about itself
        warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)
        warnings.filterwarnings("ignore", ".*torch.jit.* is deprecated", DeprecationWarning)
        try:
            compiled = torch._inductor.aoti_compile_and_package(
                export_program(model),
                package_path=io.BytesIO(),  # in a file the name of a temporary would be in it
                inductor_configs={"aot_inductor.metadata": metadata, **SETTINGS},
            )
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            raise OSError(f"torch cannot compile on this machine: {reason}") from error
    with complete(path) as temporary:
        temporary.write_bytes(cast(io.BytesIO, compiled).getvalue())
        check_parity(temporary, model)


def export_program(model: ForceField) -> torch.export.ExportedProgram:
    """The function of :func:`trace_derivatives` for any numbers of atoms and neighbours."""
    inputs, device = inputs_of(model), model.free_atoms.energies.device
    of_name = {"N": Dim("N", min=2), "K": Dim("K", min=2)}
    sizes = [{d: of_name[n] for d, n in enumerate(e.size) if isinstance(n, str)} for e in inputs]
    example = tuple(each.example().to(device) for each in inputs)
    return torch.export.export(trace_derivatives(model), example, dynamic_shapes=tuple(sizes))


def check_parity(path: Path, model: ForceField) -> None:
    """Raises RuntimeError unless a file predicts what its model does, for one atom and several.

    Compilers have their faults, and none of these may be silent.
    """
    compiled = exported.ExportedModel(path)
    generator = np.random.default_rng(0)
    environment, normal = model.config.environment, model.environment.constants["normal"]
    start = np.array(environment.plane_origin or (0, 0, 0)) + 3.0 * normal
    conditions = Conditions(
        field=tuple(0.1 * model.field_directions[0]) if environment.field else NO_FIELD,
        surface=model.surfaces[0] if model.surfaces else None,
        charge=int(environment.charge and not environment.field),
        spin=2 if environment.spin else None,
    )
    device = model.free_atoms.energies.device
    for n in (1, 5, 2 * len(model.elements) + 20):
        side = round(n ** (1 / 3) + 0.5)
        places = np.stack(np.unravel_index(np.arange(n), (side, side, side)), axis=1) * 1.5
        places = places + generator.uniform(-0.2, 0.2, places.shape) + start
        elements = [model.elements[k % len(model.elements)] for k in range(n)]
        atoms = ase.Atoms(elements, places)
        limits = (model.cutoff, model.elements)
        graph = AtomicGraph.from_atoms(
            atoms, *limits, conditions=conditions, surfaces=model.surfaces
        )
        pairs = (*graph.edge_index, graph.shifts)
        found = compiled(atoms.positions, atoms.numbers, *pairs, **conditions._asdict())
        expected = model(graph.to(device))
        for name in ("energies", "forces"):
            right = getattr(expected, name)
            error = float((found[name] - right).abs().max() / (1 + right.abs().max()))
            if not error < PARITY[model.dtype]:
                raise RuntimeError(
                    f"the compiled model differs from the model by {error:.2g} for {n} atoms; "
                    "nothing was written. Report this, with the versions of torch and the compiler"
                )


def check_exportable(model: EnergyModel) -> None:
    """Raises ValueError for models that have no table form."""
    if not isinstance(model, ForceField):
        raise ValueError(
            f"got {type(model).__name__}; expected one model of class ForceField. The members of a "
            "committee are exported one by one, and the mean is taken of their results"
        )


def check_compiler() -> None:
    """Raises OSError without a C++ compiler, or with a torch that cannot compile to a file."""
    from torch._inductor import config  # takes a second

    if not hasattr(torch._inductor, "aoti_compile_and_package"):
        raise OSError(f"torch {torch.__version__} cannot compile to a file; install a newer torch")
    names = [name for name in config.cpp.cxx if name]
    if not any(map(shutil.which, names)):
        raise OSError(
            f"a file .pt2 is compiled, and there is no C++ compiler here ({', '.join(names)}); "
            "install one, such as g++, or set CXX to its name"
        )


def describe(model: ForceField, licence: str, device: str) -> dict[str, Any]:
    """What the loader and people need to know of a model, as JSON."""
    environment = model.config.environment
    plane = environment.plane_origin is not None
    lattices = [wallpaper.lattice.tolist() for wallpaper in environment.wallpapers]
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "sikff": __version__,
        "torch": torch.__version__,
        "device": device,
        "elements": list(model.elements),
        "atomic_numbers": [atomic_numbers[element] for element in model.elements],
        "cutoff": model.cutoff,
        "group": model.config.group,
        "dtype": str(model.dtype).removeprefix("torch."),
        "units": UNITS,
        "conventions": {name: CONVENTIONS[name] for name in ("stress", "vectors")},
        "inputs": [
            {
                "name": each.name,
                "size": each.size,
                "dtype": str(each.dtype).removeprefix("torch."),
                "meaning": each.meaning,
            }
            for each in inputs_of(model)
        ],
        "outputs": OUTPUTS,
        "field_directions": model.field_directions.tolist(),
        "surfaces": list(model.surfaces) if plane else None,
        "normal": model.environment.constants["normal"].tolist(),
        "lattices": lattices,
        "stress_defined": model.defined_stress(Conditions()).tolist(),
        "licence": licence,
        "provenance": model.provenance,
    }
