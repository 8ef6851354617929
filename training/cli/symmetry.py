"""``sikff symmetry``: finds the symmetry group of a dataset or a force field."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from ..symmetry.settings import Search
from .arguments import CommandSettings, Metavar, Positional
from .shared_settings import Key

Vector = tuple[float, float, float]


class SymmetrySettings(CommandSettings):
    """Arguments of ``sikff symmetry``."""

    source: Annotated[Path, Positional("DATA_OR_MODEL")]
    """labelled structures, moving particles (as sikff nbody data writes them), or a .sikff file"""
    structures: Path | None = None
    """on which a force field is measured"""
    groups: Annotated[tuple[str, ...] | None, Metavar("G")] = None
    """candidates (default: the usual ones)"""
    axis: Vector | None = None
    """of the groups (default: to be found)"""
    plane_origin: Vector | None = None
    """a point of a plane across the axis that holds the structures, Å (default: no plane)"""
    minutes: float = Search.minutes
    """of each training on structures; 0: no trainings"""
    epochs: int = Search.epochs
    """of each training on moving particles; 0: no trainings"""
    threshold: float = Search.threshold
    """relative change that counts as none, for labels are not exact"""
    seed: int = Search.seed
    """of everything random"""
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


def run(settings: SymmetrySettings) -> None:
    """Finds the symmetry, prints it and draws it."""

    from ..data.labels import LabelKeys
    from ..evaluation.evaluate import write_json
    from ..evaluation.plots import save_figure
    from ..studies.nbody.particle_files import holds_particles
    from ..studies.nbody.particle_symmetry import find_particle_symmetry
    from ..symmetry.find import find_symmetry, read_structures
    from ..symmetry.findings import draw

    names = ("groups", "axis", "plane_origin", "minutes", "epochs", "threshold", "seed")
    search = Search(**{name: getattr(settings, name) for name in names})
    keys = LabelKeys(settings.energy_key, settings.forces_key)

    def report(line: str) -> None:
        if not settings.quiet:
            print(line, flush=True)

    source: Any = settings.source
    if source.suffix != ".sikff":
        source = read_structures(source)
    if not isinstance(source, Path) and holds_particles(source):
        found = find_particle_symmetry(source, search, report)
    else:
        found = find_symmetry(source, settings.structures, search, keys, report)
    picture = settings.output / "symmetry.png"
    save_figure(draw(found), picture)
    if settings.json_file is not None:
        write_json(settings.json_file, found.result)
    print(*found.lines, sep="\n")
    print(f"wrote {', '.join(map(str, filter(None, [picture, settings.json_file])))}")
