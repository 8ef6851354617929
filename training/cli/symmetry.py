"""``sikff symmetry``: finds the symmetry group of a dataset or a force field."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import Field

from ..console import check_output_paths
from ..symmetry.settings import SearchSettings
from .arguments import CommandSettings, Metavar, Positional
from .shared_settings import Key


class SymmetryArguments(CommandSettings, SearchSettings):
    """Arguments of ``sikff symmetry``."""

    source: Annotated[Path, Positional("DATA_OR_MODEL")]
    """labelled structures, moving particles (as sikff nbody data writes them), or a .sikff file"""
    structures: Path | None = None
    """on which a force field is measured"""
    energy_key: Key = None
    """name of the label (default: REF_energy or energy)"""
    forces_key: Key = None
    """name of the label (default: REF_forces or forces)"""
    output: Annotated[Path, Metavar("FOLDER")] = Path(".")
    """where symmetry.png goes"""
    json_file: Path | None = Field(None, alias="json")
    """write the numbers there"""
    quiet: bool = False
    """show no progress"""


def run(settings: SymmetryArguments) -> None:
    """Finds the symmetry, prints it and draws it."""
    from sikff.forcefield import load

    from ..data.labels import LabelKeys
    from ..data.reading import read_structures
    from ..data.structures import split_isolated
    from ..evaluation.evaluate import write_json
    from ..evaluation.plots import picture_may_fail, save_figure
    from ..studies.nbody.particle_files import holds_particles
    from ..studies.nbody.particle_symmetry import find_symmetry_of_particles
    from ..symmetry.findings import draw_findings
    from ..symmetry.from_force_field import find_symmetry_of_model
    from ..symmetry.from_labels import find_symmetry_of_labels

    picture = settings.output / "symmetry.png"
    written = [picture, *filter(None, [settings.json_file])]
    inputs = filter(None, [settings.source, settings.structures])
    check_output_paths(written, overwrite=True, inputs=[*inputs])
    start = time.perf_counter()
    report = (lambda line: None) if settings.quiet else partial(print, flush=True)
    model = load(settings.source) if settings.source.suffix == ".sikff" else None
    path = settings.source if model is None else settings.structures
    if path is None:
        raise ValueError(
            "a force field is measured on structures; give some of its elements (--structures)"
        )
    structures, _ = split_isolated(read_structures(path))  # isolated atoms have every symmetry
    if model is not None:
        findings = find_symmetry_of_model(model, structures, settings)
    elif holds_particles(structures):
        findings = find_symmetry_of_particles(structures, settings, report)
    else:
        keys = LabelKeys(settings.energy_key, settings.forces_key)
        findings = find_symmetry_of_labels(structures, settings, keys, report)
    findings = replace(findings, seconds=time.perf_counter() - start)
    if settings.json_file is not None:
        write_json(settings.json_file, findings.result)
    print(*findings.lines, sep="\n")
    written.remove(picture)
    with picture_may_fail(picture):
        save_figure(draw_findings(findings), picture)
        written.append(picture)
    if written:
        print(f"wrote {', '.join(map(str, written))}")
