"""``sikff nbody``: one training; with ``table`` many; with ``data`` only the data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from ..console import print_table
from ..studies.nbody.nbody_study import SPRINGS, STRENGTH, Study
from .arguments import CommandSettings, Metavar, choices

FIELDS = (0.0, 0.5, 1.0, 2.0, 4.0)
STIFFNESS = (0.0, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 200.0, 1000.0)
MODELS = (
    *("sik:SO(2)", "sik:C_inf_v", "sik:O(3)", "o3-field", "segnn", "tfn", "egnn", "mpnn"),
    *("linear:SO(2)", "linear:O(3)"),
)
REPORTED = ("label", "test_mse", "floor", "n_parameters", "seconds", "equivariance_error")


class Particles(CommandSettings):
    """What moves."""

    system: Annotated[str, choices(STRENGTH)] = Study.system
    """particles between springs above a plane, or charged particles in a field"""
    springs: Annotated[str, choices(SPRINGS)] = Study.springs
    """whether the input says which particles are joined"""
    n_particles: int = Field(Study.n_particles, alias="particles")
    """in each trajectory"""
    axis: tuple[float, float, float] = Study.axis
    """normal of the plane, or direction of the field"""


class Training(Particles):
    """How models are trained and tested."""

    height: bool = Study.height
    """leave out the height above the plane"""
    epochs: int = Study.epochs
    """passes over the training trajectories, at most, for each of two parts"""
    n_valid: int = Field(Study.n_valid, alias="valid")
    """validation trajectories"""
    n_test: int = Field(Study.n_test, alias="test")
    """test trajectories"""
    weights: int = Study.weights
    """approximate number of weights of a model"""
    device: str = "cpu"
    """cpu or cuda"""
    quiet: bool = False
    """show no progress"""


class One(Training):
    """Arguments of ``sikff nbody``."""

    model: str = Study.model
    """kind of model"""
    group: Annotated[str, Metavar("G")] = Study.group
    """of the models sik and linear"""
    stiffness: float = Study.stiffness
    """of the plane"""
    field: float = Study.field
    """on charged particles"""
    seed: int = Study.seed
    """of the training data, the weights and the order of the data"""
    n_train: int = Field(Study.n_train, alias="train")
    """training trajectories"""
    json_file: Path | None = Field(None, alias="json")
    """write the numbers there"""


class Table(Training):
    """Arguments of ``sikff nbody table``."""

    models: Annotated[tuple[str, ...], Metavar("NAME[:G]")] = MODELS
    """kinds of models"""
    stiffness: tuple[float, ...] = STIFFNESS
    """of the plane"""
    field: tuple[float, ...] = FIELDS
    """on charged particles"""
    seeds: tuple[int, ...] = (0, 1, 2)
    """of the training data, the weights and the order of the data"""
    train: tuple[int, ...] = (Study.n_train,)
    """training trajectories; several numbers draw errors against them"""
    output: Annotated[Path, Metavar("FOLDER")] = Path("nbody")
    """where results, figures and the table go"""


class Data(Particles):
    """Arguments of ``sikff nbody data``."""

    stiffness: float = Study.stiffness
    """of the plane"""
    field: float = Study.field
    """on charged particles"""
    seed: int = Study.seed
    """of the trajectories"""
    train: int = Study.n_train
    """number of trajectories"""
    output: Path = Path("particles.xyz")
    """extended XYZ"""


def run(settings: One) -> None:
    """Trains one model and prints its errors."""
    from ..evaluation.evaluate import write_json
    from ..studies.nbody.nbody_study import run as run_study

    outcome = run_study(_study(settings), device=settings.device, progress=not settings.quiet)
    result = outcome.result
    print_table({name: result[name] for name in REPORTED if result[name] is not None})
    if settings.json_file is not None:
        write_json(settings.json_file, result)
        print(f"wrote {settings.json_file}")


def table(settings: Table) -> None:
    """Trains many models; writes their results, figures and a table."""
    from ..evaluation.plots import save_figure
    from ..studies.nbody import nbody_table as table
    from ..studies.table import write_text

    base = _study(settings)
    strengths = settings.stiffness if settings.system == "springs" else settings.field
    studies = table.grid(base, settings.models, strengths, settings.seeds, settings.train)
    folder = settings.output
    cells = folder / "cells"
    table.run_all(studies, cells, device=settings.device, progress=not settings.quiet)
    results = table.collected(base, cells)
    write_text(folder / "table.md", table.markdown(results))
    save_figure(table.strength_figure(results), folder / f"{STRENGTH[settings.system]}.png")
    if len(settings.train) > 1:
        save_figure(table.sample_figure(results), folder / "samples.png")
    print(table.markdown(results), end="")
    print(f"wrote {folder}")


def data(settings: Data) -> None:
    """Writes trajectories to a file."""
    from ..studies.nbody.nbody_study import trajectories
    from ..studies.nbody.particle_files import write_particles

    drawn = trajectories(_study(settings), settings.train, settings.seed)
    write_particles(settings.output, drawn, hidden=settings.springs == "hidden")
    print(f"wrote {settings.output}: {len(drawn)} trajectories")


def _study(settings: Particles) -> Study:
    """The study that the settings describe, with the default of Study for what has several."""
    given = {
        name: getattr(settings, name)
        for name in Study.__dataclass_fields__
        if hasattr(settings, name)
    }
    several = ("stiffness", "field") if isinstance(settings, Table) else ()
    return Study(**{name: value for name, value in given.items() if name not in several})
