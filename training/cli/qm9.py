"""``sikff qm9``: one training, or with ``table`` many."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from ..console import print_table
from ..studies.molecules.property_study import GRAPHS, VARIANTS, Study
from .arguments import CommandSettings, Metavar, choices

REPORTED = (
    *("target", "variant", "unit", "test_mae", "valid_mae", "median_mae", "n_train"),
    *("n_test", "n_parameters", "seconds", "invariance_error"),
)


class Training(CommandSettings):
    """What both commands have."""

    data: Annotated[Path | None, Metavar("PATH")] = None
    """gdb9.sdf, or the XYZ files of QM9 in a folder or a tar file"""
    keep_uncharacterised: bool = False
    """keep the molecules that uncharacterized.txt lists"""
    group: Annotated[str, Metavar("G")] = Study.group
    """of the network"""
    graph: Annotated[str, choices(GRAPHS)] = Study.graph
    """which atoms are neighbours"""
    cutoff: float = Study.cutoff
    """of a radius graph, Å"""
    n_train: int | None = Field(Study.n_train, alias="train")
    """molecules for training (default: as many as of QM9, or the same part of fewer)"""
    n_valid: int | None = Field(Study.n_valid, alias="valid")
    """molecules for validation (default: as many as of QM9, or the same part of fewer)"""
    epochs: int = Study.epochs
    """passes over the training molecules"""
    channels: int = Study.channels
    """copies of each irrep in the features"""
    order: int = Study.order
    """highest frequency of the features"""
    convolutions: int = Study.convolutions
    """number of them"""
    kernel_layers: int = Study.kernel_layers
    """of implicit kernels"""
    device: str = "cpu"
    """cpu or cuda"""
    quiet: bool = False
    """show no progress"""


class One(Training):
    """Arguments of ``sikff qm9``."""

    target: str = Study.target
    """one of QM9's twelve"""
    variant: Annotated[str, choices(VARIANTS)] = Study.variant
    """what the kernels are, and what they depend on; escnn needs the extra escnn"""
    seed: int = Study.seed
    """of the split, the weights and the order of the data"""
    json_file: Path | None = Field(None, alias="json")
    """write the numbers there"""


class Table(Training):
    """Arguments of ``sikff qm9 table``."""

    targets: tuple[str, ...] = (Study.target,)
    """some of QM9's twelve"""
    variants: Annotated[tuple[str, ...], choices(VARIANTS)] = tuple(VARIANTS)[:4]
    """what the kernels are, and what they depend on"""
    seeds: tuple[int, ...] = (0, 1, 2)
    """of the split, the weights and the order of the data"""
    output: Annotated[Path, Metavar("FOLDER")] = Path("qm9")
    """where results, the figure and the table go"""


def run(settings: One) -> None:
    """Trains one network and prints its errors."""
    from ..evaluation.evaluate import write_json
    from ..studies.molecules.property_study import run as run_study

    outcome = run_study(
        _study(settings), _dataset(settings), device=settings.device, progress=not settings.quiet
    )
    print_table({name: outcome.result[name] for name in REPORTED})
    if settings.json_file is not None:
        write_json(settings.json_file, outcome.result)
        print(f"wrote {settings.json_file}")


def table(settings: Table) -> None:
    """Trains many networks; writes their results, a figure and a table."""
    from ..evaluation.plots import save_figure
    from ..studies.molecules import property_table as table
    from ..studies.table import write_text

    studies = table.grid(_study(settings), settings.variants, settings.targets, settings.seeds)
    folder = settings.output
    results = table.run_all(
        studies,
        _dataset(settings),
        folder / "cells",
        device=settings.device,
        progress=not settings.quiet,
    )
    write_text(folder / "table.md", table.markdown(results))
    save_figure(table.figure(results), folder / "errors.png")
    print(table.markdown(results), end="")
    print(f"wrote {folder}")


def _dataset(settings: Training) -> Any:
    from ..studies.molecules.qm9_dataset import SOURCE, read_dataset

    if settings.data is None:
        raise ValueError(
            "got no molecules; give --data gdb9.sdf, which has bonds, or the XYZ files published "
            f"at {SOURCE}"
        )
    return read_dataset(settings.data, keep_uncharacterised=settings.keep_uncharacterised)


def _study(settings: Training) -> Study:
    """The study that the settings describe."""
    names = Study.__dataclass_fields__.keys() & type(settings).model_fields.keys()
    return Study(**{name: getattr(settings, name) for name in names})
