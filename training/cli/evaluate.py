"""``sikff evaluate``: compares a force field with labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from .arguments import Metavar
from .shared_settings import Batches, LabelledData, ModelFile, Placement


class EvaluateSettings(Placement, Batches, LabelledData, ModelFile):
    """Arguments of ``sikff evaluate``."""

    committee: Annotated[tuple[Path, ...], Metavar("MODEL")] = ()
    """more models: what is compared is the mean over all"""
    json_file: Path | None = Field(None, alias="json")
    """write the errors there as well"""
    plots: Annotated[Path | None, Metavar("FOLDER")] = None
    """where the parity plot, parity_DATA.png, goes (default: beside the --json file, or else
    here)"""


def run(settings: EvaluateSettings) -> None:
    """Prints the errors of a force field and draws its parity plot."""
    from sikff.calculators.models import chosen_device
    from sikff.forcefield import load

    from ..data.structures import read_frames
    from ..evaluation.evaluate import evaluate, write_json
    from ..evaluation.plots import parity, save_figure

    device, data = chosen_device(settings.device), settings.data_config()
    paths = [settings.model, *settings.committee]
    models = [load(path, device, settings.dtype) for path in paths]
    evaluation = evaluate(models, read_frames(settings.data), data, settings.batch_size)
    print(*evaluation.lines, sep="\n")
    if settings.json_file is not None:
        write_json(settings.json_file, evaluation.metrics)
    folder = settings.plots or Path(settings.json_file or ".").parent
    picture = folder / f"parity_{settings.data[0].stem}.png"  # beside that of the validation
    save_figure(parity(evaluation, ", ".join(path.name for path in paths)), picture)
    print(f"wrote {picture}")
