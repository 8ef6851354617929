"""``sikff shapes``: one training, or with ``table`` many."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from ..console import print_table
from ..studies.shapes.shape_network import KERNELS
from ..studies.shapes.shapes_study import Study
from .arguments import CommandSettings, Metavar, choices

GROUPS = (
    *("SO(2)", "C_inf_v", "D_inf", "C_inf_h", "D_inf_h"),
    *("SO(3)", "O(3)", "Cs", "Ci", "C1"),
)
REPORTED = (
    *("label", "test_accuracy", "bound", "n_classes", "n_parameters", "seconds"),
    *("invariance_group", "invariance_error"),
)


class Training(CommandSettings):
    """What both commands have."""

    data: Annotated[str | None, Metavar("FOLDER")] = None
    """of ModelNet-40, aligned: CLASS/train/*.off and CLASS/test/*.off (default: procedural
    shapes)"""
    n_train: int = Field(Study.n_train, alias="train")
    """training clouds of each class, of a folder at most"""
    n_valid: int = Field(Study.n_valid, alias="valid")
    """validation clouds of each class"""
    n_test: int = Field(Study.n_test, alias="test")
    """test clouds of each class, of a folder at most"""
    n_points: int = Field(Study.n_points, alias="points")
    """of each cloud"""
    n_neighbours: int = Field(Study.n_neighbours, alias="neighbours")
    """points that a point gathers from, itself included"""
    layers: int = Study.layers
    """convolutions, of which each halves the points"""
    epochs: int = Study.epochs
    """passes over the training clouds"""
    weights: int = Study.weights
    """approximate number of weights of a network"""
    device: str = "cpu"
    """cpu or cuda"""
    quiet: bool = False
    """show no progress"""


class One(Training):
    """Arguments of ``sikff shapes``."""

    group: Annotated[str, Metavar("G")] = Study.group
    """of the network, about z"""
    kernel: Annotated[str, choices(KERNELS)] = Study.kernel
    """of two layers, of one, or escnn's (extra escnn)"""
    seed: int = Study.seed
    """of the training clouds, the weights and the order of the clouds"""
    json_file: Path | None = Field(None, alias="json")
    """write the numbers there"""


class Table(Training):
    """Arguments of ``sikff shapes table``."""

    groups: Annotated[tuple[str, ...], Metavar("G")] = GROUPS
    """of the networks, about z"""
    kernels: Annotated[tuple[str, ...], choices(KERNELS)] = ("implicit", "analytic")
    """of two layers, of one, or escnn's (extra escnn)"""
    seeds: tuple[int, ...] = (0, 1, 2)
    """of the training clouds, the weights and the order of the clouds"""
    output: Annotated[Path, Metavar("FOLDER")] = Path("shapes")
    """where results, the figure and the table go"""


def run(settings: One) -> None:
    """Trains one network and prints its accuracy."""
    from ..evaluation.evaluate import write_json
    from ..studies.shapes.shapes_study import run as run_study

    outcome = run_study(_study(settings), device=settings.device, progress=not settings.quiet)
    result = outcome.result
    print_table({name: result[name] for name in REPORTED if result[name] is not None})
    if settings.json_file is not None:
        write_json(settings.json_file, result)
        print(f"wrote {settings.json_file}")


def table(settings: Table) -> None:
    """Trains many networks; writes their results, a figure and a table."""
    from ..evaluation.plots import save_figure
    from ..studies.shapes import shapes_table as table
    from ..studies.table import write_text

    studies = table.grid(_study(settings), settings.groups, settings.kernels, settings.seeds)
    folder = settings.output
    results = table.run_all(
        studies, folder / "cells", device=settings.device, progress=not settings.quiet
    )
    write_text(folder / "table.md", table.markdown(results))
    save_figure(table.accuracy_figure(results), folder / "accuracy.png")
    print(table.markdown(results), end="")
    print(f"wrote {folder}")


def _study(settings: Training) -> Study:
    """The study that the settings describe."""
    names = Study.__dataclass_fields__.keys() & type(settings).model_fields.keys()
    return Study(**{name: getattr(settings, name) for name in names})
