"""``sikff nbody``, ``qm9`` and ``shapes``: one training, or with ``table`` many.

Options are the fields of the settings of a study; a table takes several values of some.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, create_model

from ..console import check_output_paths, print_table
from ..studies.molecules.property_study import PropertyStudy
from ..studies.nbody.nbody_study import NBodySettings, NBodyStudy, trajectories
from ..studies.runner import grid, run, run_table
from ..studies.shapes.shapes_study import ShapesStudy
from ..studies.study import Study, StudySettings
from .arguments import CommandSettings, Metavar

AnyStudy = type[Study[Any, Any, Any]]

STUDIES: dict[str, AnyStudy] = {"nbody": NBodyStudy, "qm9": PropertyStudy, "shapes": ShapesStudy}
OF_TRAJECTORIES = (
    *("system", "stiffness", "field", "springs", "n_particles", "axis"),
    *("n_train", "seed"),
)


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


def find_study_command(name: str) -> tuple[Callable[[Any], None], type[CommandSettings]]:
    """The function of a command, such as "nbody table", and the model of its settings."""
    first, _, second = name.partition(" ")
    study = STUDIES[first]
    if second == "table":
        return partial(train_many, study), _table_options(study, folder=first)
    if second == "data":
        options = _options(NBodySettings, OF_TRAJECTORIES)
        options["output"] = (Path, Field(Path("particles.xyz"), description="extended XYZ"))
        return write_trajectories, create_model("Data", __base__=CommandSettings, **options)
    options = _options(study.SETTINGS, study.SETTINGS.model_fields)
    return partial(train_one, study), create_model("One", __base__=OneTraining, **options)


def train_one(study: AnyStudy, options: Any) -> None:
    """Trains one model; prints its results, and writes them to a file if one is given."""
    from ..evaluation.evaluate import write_json

    check_output_paths([*filter(None, [options.json_file])], overwrite=True)
    training = study(_settings(study, options))
    result = run(training, device=options.device, progress=not options.quiet).result
    known = study.SETTINGS.model_fields
    print_table({k: v for k, v in result.items() if k not in known and v is not None})
    if options.json_file is not None:
        write_json(options.json_file, result)
        print(f"wrote {options.json_file}")


def train_many(study: AnyStudy, options: Any) -> None:
    """Trains the models of a table whose results the folder lacks, and prints the table."""
    several = {name: getattr(options, f"all_{name}") for name in study.SETTINGS.VARIED}
    trainings = grid(_settings(study, options), several)
    folder, progress = options.output, not options.quiet
    check_output_paths([folder / "table.md"], overwrite=True)
    print(run_table(study, trainings, folder, device=options.device, progress=progress), end="")
    print(f"wrote {folder}")


def write_trajectories(options: Any) -> None:
    """Writes trajectories of the N-body study to a file."""
    from ..studies.nbody.particle_files import write_particles

    check_output_paths([options.output], overwrite=True)
    settings = _settings(NBodyStudy, options)
    drawn = trajectories(settings, settings.n_train, settings.seed)
    write_particles(options.output, drawn, hidden=settings.springs == "hidden")
    print(f"wrote {options.output}: {len(drawn)} trajectories")


def _settings(study: AnyStudy, options: CommandSettings) -> Any:
    """The settings of a study that are options of a command; others have their defaults."""
    names = study.SETTINGS.model_fields.keys() & type(options).model_fields.keys()
    return study.SETTINGS(**{name: getattr(options, name) for name in names})


def _options(settings: type[StudySettings], names: Iterable[str]) -> dict[str, Any]:
    """Fields of settings, for a model of options."""
    fields = settings.model_fields
    return {name: (fields[name].annotation, fields[name]) for name in names}


def _table_options(study: AnyStudy, folder: str) -> type[CommandSettings]:
    """Options of a table: the settings of the study, several values for those that it varies."""
    fields, varied = study.SETTINGS.model_fields, study.SETTINGS.VARIED
    options = _options(study.SETTINGS, (name for name in fields if name not in varied))
    for name, (option, default) in varied.items():
        several: Any = tuple[fields[name].annotation, ...]  # type: ignore[misc]
        words = fields[name].description
        options[f"all_{name}"] = (several, Field(default, alias=option, description=words))
    words = "where results, figures and the table go"
    output = Annotated[Path, Metavar("FOLDER"), Field(description=words)]
    options["output"] = (output, Path(folder))
    return create_model("Table", __base__=TrainingOptions, **options)
