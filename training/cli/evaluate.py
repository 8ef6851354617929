"""``sikff evaluate``: compares a force field with labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from ..console import check_output_paths
from .arguments import Metavar
from .shared_settings import Batches, LabelledData, Models


class EvaluateSettings(Batches, LabelledData, Models):
    """Arguments of ``sikff evaluate``."""

    json_file: Path | None = Field(None, alias="json")
    """write the errors there as well"""
    plots: Annotated[Path | None, Metavar("FOLDER")] = None
    """where the parity plot, parity_DATA.png, goes (default: beside the --json file, or else
    here)"""


def run(settings: EvaluateSettings) -> None:
    """Prints the errors of a force field and draws its parity plot."""
    from ..data.reading import read_structures
    from ..evaluation.evaluate import evaluate, write_json
    from ..evaluation.plots import parity, picture_may_fail, save_figure

    folder = settings.plots or Path(settings.json_file or ".").parent
    picture = folder / f"parity_{settings.data[0].stem}.png"  # beside that of the validation
    written = [*filter(None, [settings.json_file]), picture]
    check_output_paths(written, overwrite=True, inputs=[*settings.models, *settings.data])
    structures, keys = read_structures(settings.data), settings.label_keys()
    evaluation = evaluate(settings.load(), structures, keys, settings.batch_size)
    print(*evaluation.lines, sep="\n")
    if settings.json_file is not None:
        write_json(settings.json_file, evaluation.metrics)
    with picture_may_fail(picture):
        title = ", ".join(path.name for path in settings.models)
        save_figure(parity(evaluation, title), picture)
        print(f"wrote {picture}")
