"""``sikff nbody``, ``qm9`` and ``shapes``: one training, or with ``table`` many.

Options are the fields of the settings of a study; a table takes several values of some.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, create_model

from ..console import print_table
from ..evaluation.evaluate import write_json
from ..studies.molecules.property_study import PropertySettings, PropertyStudy
from ..studies.nbody.nbody_study import NBodySettings, NBodyStudy, trajectories
from ..studies.nbody.particle_files import write_particles
from ..studies.runner import grid, run, run_table
from ..studies.shapes.shapes_study import ShapesSettings, ShapesStudy
from ..studies.study import Study, StudySettings
from .arguments import CommandSettings, Metavar


class TrainingOptions(CommandSettings):
    """Options of all trainings."""

    device: str = "cpu"
    """cpu or cuda"""
    quiet: bool = False
    """show no progress"""


class OneTraining(TrainingOptions):
    """Options of one training."""

    json_file: Path | None = Field(None, alias="json")
    """write the numbers there"""


def _options(settings: type[StudySettings], names: Iterable[str]) -> dict[str, Any]:
    """Fields of settings, for a model of options."""
    fields = settings.model_fields
    return {name: (fields[name].annotation, fields[name]) for name in names}


def _table_options(study: type[Study[Any, Any, Any]], folder: str) -> type[CommandSettings]:
    """Options of a table: the settings of the study, several values for those that it varies."""
    settings = study.SETTINGS
    fields = settings.model_fields
    options = _options(settings, (name for name in fields if name not in settings.VARIED))
    for name, (option, default) in settings.VARIED.items():
        several: Any = tuple[fields[name].annotation, ...]  # type: ignore[misc]
        words = fields[name].description
        options[f"all_{name}"] = (several, Field(default, alias=option, description=words))
    words = "where results, figures and the table go"
    output = Annotated[Path, Metavar("FOLDER"), Field(description=words)]
    options["output"] = (output, Path(folder))
    return create_model("TableOptions", __base__=TrainingOptions, **options)


class NBody(OneTraining, NBodySettings):
    """Arguments of ``sikff nbody``."""


class NBodyTable(_table_options(NBodyStudy, "nbody")):  # type: ignore[misc]
    """Arguments of ``sikff nbody table``."""


class NBodyData(
    create_model(  # type: ignore[misc]
        "DataOptions",
        __base__=CommandSettings,
        **_options(
            NBodySettings,
            ("system", "stiffness", "field", "springs", "n_particles", "axis", "n_train", "seed"),
        ),
    )
):
    """Arguments of ``sikff nbody data``."""

    output: Path = Path("particles.xyz")
    """extended XYZ"""


class QM9(OneTraining, PropertySettings):
    """Arguments of ``sikff qm9``."""


class QM9Table(_table_options(PropertyStudy, "qm9")):  # type: ignore[misc]
    """Arguments of ``sikff qm9 table``."""


class Shapes(OneTraining, ShapesSettings):
    """Arguments of ``sikff shapes``."""


class ShapesTable(_table_options(ShapesStudy, "shapes")):  # type: ignore[misc]
    """Arguments of ``sikff shapes table``."""


def nbody(settings: NBody) -> None:
    """Trains a model of moving particles."""
    _train_one(NBodyStudy, settings)


def nbody_table(settings: NBodyTable) -> None:
    """Trains many models of moving particles."""
    _train_many(NBodyStudy, settings)


def nbody_data(settings: NBodyData) -> None:
    """Writes trajectories to a file."""
    chosen = _study_settings(NBodyStudy, settings)
    drawn = trajectories(chosen, chosen.n_train, chosen.seed)
    write_particles(settings.output, drawn, hidden=chosen.springs == "hidden")
    print(f"wrote {settings.output}: {len(drawn)} trajectories")


def qm9(settings: QM9) -> None:
    """Trains a model of properties of molecules."""
    _train_one(PropertyStudy, settings)


def qm9_table(settings: QM9Table) -> None:
    """Trains many models of properties of molecules."""
    _train_many(PropertyStudy, settings)


def shapes(settings: Shapes) -> None:
    """Trains a classifier of shapes."""
    _train_one(ShapesStudy, settings)


def shapes_table(settings: ShapesTable) -> None:
    """Trains many classifiers of shapes."""
    _train_many(ShapesStudy, settings)


def _train_one(study: type[Study[Any, Any, Any]], settings: Any) -> None:
    """Trains one model; prints its results, and writes them to a file if one is given."""
    training = study(_study_settings(study, settings))
    result = run(training, device=settings.device, progress=not settings.quiet).result
    known = study.SETTINGS.model_fields
    print_table({k: v for k, v in result.items() if k not in known and v is not None})
    if settings.json_file is not None:
        write_json(settings.json_file, result)
        print(f"wrote {settings.json_file}")


def _train_many(study: type[Study[Any, Any, Any]], settings: Any) -> None:
    """Trains the models of a table whose results the folder lacks, and prints the table."""
    several = {name: getattr(settings, f"all_{name}") for name in study.SETTINGS.VARIED}
    trainings = grid(_study_settings(study, settings), several)
    folder, progress = settings.output, not settings.quiet
    print(run_table(study, trainings, folder, device=settings.device, progress=progress), end="")
    print(f"wrote {folder}")


def _study_settings(study: type[Study[Any, Any, Any]], options: CommandSettings) -> Any:
    """The settings of a study that are options of a command; others have their defaults."""
    names = study.SETTINGS.model_fields.keys() & type(options).model_fields.keys()
    return study.SETTINGS(**{name: getattr(options, name) for name in names})
