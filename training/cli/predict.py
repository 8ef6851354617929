"""``sikff predict``: labels structures with a force field or the mean of several."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from ..console import check_output_paths, print_table, progress_bar
from .arguments import Positional
from .shared_settings import Batches, Electrons, Key, Models, Output


class PredictSettings(Output, Electrons, Batches, Models):
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


def run(settings: PredictSettings) -> None:
    """Writes the structures with predicted labels."""
    from ..data.labels import LabelKeys, copy_results
    from ..data.reading import read_structures
    from ..data.unread_keys import OF_ELECTRONS, unread_keys
    from ..evaluation.predict import predict, spread
    from ..simulation.structure_files import locked, write_structures

    output = settings.output
    if output.suffix not in (".xyz", ".extxyz"):  # others drop what belongs to atoms
        raise ValueError(f"{str(output)!r}: expected a name in .xyz or .extxyz")
    check_output_paths([output], settings.overwrite, inputs=[*settings.models, *settings.data])
    models = settings.load()
    structures = read_structures(settings.data)
    if settings.electrons:
        structures = structures.with_info(settings.electrons)
    for note in unread_keys(structures, OF_ELECTRONS):
        print(f"note: {note}")
    total = len(structures)
    keys = LabelKeys(settings.energy_key, settings.forces_key, settings.stress_key)
    with locked(output):
        with progress_bar(total=total, unit="structure", disable=settings.quiet) as bar:
            try:
                labelled = predict(models, structures, settings.batch_size, on_batch=bar.update)
            except KeyboardInterrupt as interrupt:
                raise KeyboardInterrupt("nothing was written") from interrupt
        for atoms in labelled:
            copy_results(atoms, keys)
        write_structures(output, labelled)
    if len(models) > 1:
        print_table(spread(labelled))
    print(f"wrote {output}, {total} structure{'s'[: total != 1]}")
