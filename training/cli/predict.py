"""``sikff predict``: labels structures with a force field or the mean of several."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from ..console import print_table, progress_bar, refuse_to_replace
from .arguments import Metavar, Positional
from .shared_settings import Batches, Key, ModelFile, Output, Placement


class PredictSettings(Placement, Output, Batches, ModelFile):
    """Arguments of ``sikff predict``."""

    data: Annotated[tuple[Path, ...], Positional("DATA")]
    """structures, as ASE reads them"""
    output: Path
    """the structures with energy, forces and, of crystals, stress, in extended XYZ; labels of DATA
    are left out"""
    energy_key: Key = None
    """write the energy under this name as well"""
    forces_key: Key = None
    """write the forces under this name as well"""
    stress_key: Key = None
    """write the stress under this name as well"""
    committee: Annotated[tuple[Path, ...], Metavar("MODEL")] = ()
    """more models: labels are the mean over all, energy_std and forces_std their standard
    deviations"""


def run(settings: PredictSettings) -> None:
    """Writes the structures with predicted labels."""
    from sikff.calculators.models import chosen_device
    from sikff.forcefield import load

    from ..data.labels import add_names
    from ..data.structures import read_frames
    from ..evaluation.predict import predict, spread
    from ..simulation.structure_files import write_structures

    output = settings.output
    if output.suffix not in (".xyz", ".extxyz"):  # others drop what belongs to atoms
        raise ValueError(f"{str(output)!r}: expected a name in .xyz or .extxyz")
    paths = [settings.model, *settings.committee]
    refuse_to_replace([output], settings.overwrite, read=paths)
    device, structures = chosen_device(settings.device), read_frames(settings.data)
    models = [load(path, device, settings.dtype).freeze() for path in paths]
    total = len(structures.atoms)
    with progress_bar(total=total, unit="structure", disable=settings.quiet) as bar:
        try:
            labelled = predict(models, structures, settings.batch_size, on_batch=bar.update)
        except KeyboardInterrupt as interrupt:
            raise KeyboardInterrupt("nothing was written") from interrupt
    names = {
        "energy": settings.energy_key,
        "forces": settings.forces_key,
        "stress": settings.stress_key,
    }
    for atoms in labelled:
        add_names(atoms, names)
    write_structures(output, labelled)
    if len(models) > 1:
        print_table(spread(labelled))
    print(f"wrote {output}, {total} structure{'s'[: total != 1]}")
