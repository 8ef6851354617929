"""Runs studies: one training, or a table of many that can be interrupted and resumed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Generic, cast

import torch
from torch import Tensor

from sikff.atomic_write import complete
from sikff.groups import SymmetryGroup

from .loop import History, Recipe, fit
from .model_size import count_weights
from .samples import Labelled, X, predict
from .study import M, S, Stage, Study
from .study_table import Result


@dataclass(frozen=True, eq=False)
class Outcome(Generic[M]):
    """A trained model, in float32 and in evaluation mode, and its results.

    Attributes:
        histories: of the stages of the training.
        result: can be written as JSON.
    """

    model: M
    histories: list[History]
    result: Result


def run(
    study: Study[S, X, M],
    recipe: Recipe | None = None,
    *,
    device: str = "cpu",
    progress: bool = False,
) -> Outcome[M]:
    """Loads the data, trains a model and tests it.

    Args:
        study: what to train on what.
        recipe: how to train, for as many epochs as the settings say; None: as the study does.
        device: where to train.
        progress: whether to show a progress bar.

    Raises:
        OSError, ValueError: data that cannot be read, or that do not fit the settings.
    """
    exact = study.load()
    model = study.build(exact[0]).to(device, torch.float32)
    train, valid, test = (part.to(device, torch.float32) for part in exact)
    title = study.label if progress else None
    histories = train_model(study, model, train, valid, recipe, progress=title)
    model.eval()
    errors = {
        f"{name}_{study.METRIC}": study.metric(
            predict(model, part.inputs, study.PORTION), part.labels
        )
        for name, part in (("test", test), ("valid", valid))
    }
    group, error = symmetry_error(study, model, test.inputs)
    result = {
        **study.identity(),
        "label": study.label,
        **errors,
        **study.facts(train, test),
        "n_parameters": count_weights(model),
        "seconds": sum(history.seconds for history in histories),
        f"{study.SYMMETRY}_error": error,
        f"{study.SYMMETRY}_group": group,
    }
    return Outcome(model, histories, result)


def train_model(
    study: Study[S, X, M],
    model: M,
    train: Labelled[X],
    valid: Labelled[X],
    recipe: Recipe | None = None,
    *,
    progress: str | None = None,
) -> list[History]:
    """Trains a model in place, in the stages of its study.

    Args:
        train, valid: samples on the device and in the precision of the model.
        recipe: see :func:`run`.
        progress: title of the progress bar; None: no bar.
    """
    recipe = replace(recipe or study.RECIPE, epochs=study.settings.epochs)
    histories = []
    for stage in study.stages(model, train, recipe):
        loss, validate = _objective(study, stage, train, valid)
        seed = study.settings.seed
        history = fit(model, len(train), loss, validate, stage.recipe, seed=seed, progress=progress)
        histories.append(history)
    return histories


def _objective(
    study: Study[S, X, M], stage: Stage[M, X], train: Labelled[X], valid: Labelled[X]
) -> tuple[Callable[[M, Tensor], Tensor], Callable[[M], float]]:
    """The loss of a model on chosen training samples, and its validation loss."""

    def loss(model: M, chosen: Tensor) -> Tensor:
        batch = train.select(chosen.to(train.labels.device))
        return stage.loss(stage.predict(model, batch.inputs), batch.labels)

    def validate(model: M) -> float:
        predictions = predict(partial(stage.predict, model), valid.inputs, study.PORTION)
        return float(study.loss(predictions, valid.labels))

    return loss, validate


@torch.no_grad()
def symmetry_error(
    study: Study[S, X, M], model: M, inputs: X, n_samples: int = 32, n_elements: int = 8
) -> tuple[str, float]:
    """The tested group, and max |f(g x) - g f(x)| / max |f(x)| over samples and elements.

    It is the group of the model or, if that is trivial, of the data. In float64: in float32 the
    order of nearly equal distances is not invariant.
    """
    group = cast(SymmetryGroup, model.group)
    if group.order == 1:
        group = study.data_group
    exact = deepcopy(model).double()
    device = next(model.parameters()).device
    chosen = torch.arange(0, len(inputs), max(1, len(inputs) // n_samples), device=device)
    inputs = inputs.select(chosen).to(device, torch.float64)
    expected = exact(inputs)
    worst = 0.0
    for g in group.sample(n_elements, seed=0).to(expected):
        rotated = expected @ g.T if study.SYMMETRY == "equivariance" else expected
        worst = max(worst, float((exact(study.rotated(inputs, g)) - rotated).abs().max()))
    return str(group), worst / float(expected.abs().max())


def grid(base: S, values: Mapping[str, Sequence[Any]]) -> list[S]:
    """All combinations of values of the settings that a table varies.

    Seed by seed, so that an interrupted table has results of every model.

    Raises:
        ValueError: invalid settings.
    """
    return [
        base.with_changes(**dict(zip(base.varied, chosen, strict=True)))
        for chosen in product(*(values[name] for name in base.varied))
    ]


def run_table(
    study: type[Study[S, X, M]],
    settings: Sequence[S],
    folder: Path,
    *,
    device: str = "cpu",
    progress: bool = False,
    report: Callable[[str], None] = print,
) -> str:
    """Runs trainings whose results are not in a folder yet, and draws a table and figures.

    They show the results in the folder that differ from these in varied settings only.

    Args:
        settings: of the trainings.
        folder: of ``cells/*.json``, one file for each training, ``table.md`` and figures.
        device, progress: see :func:`run`.
        report: called with a line after each training.

    Returns:
        The table in Markdown.

    Raises:
        ValueError: a file in the folder holds a result of other settings.
    """
    from ..evaluation.evaluate import write_json  # loads ase.io
    from ..evaluation.plots import picture_may_fail, save_figure  # loads matplotlib

    source = study.open(settings[0])
    cells = folder / "cells"
    for training in (study(chosen, source) for chosen in settings):
        file = cells / f"{training.file_name}.json"
        if file.exists():
            _check(file, json.loads(file.read_text(encoding="utf-8")), training.identity())
            continue
        result = run(training, device=device, progress=progress).result
        write_json(file, result)
        report(f"{file.name}: test {study.METRIC} {result[f'test_{study.METRIC}']:.4g}")
    identity, varied = training.identity(), training.settings.VARIED
    stored = [json.loads(file.read_text(encoding="utf-8")) for file in cells.glob("*.json")]
    layout = training.layout()
    results = layout.sorted(
        r for r in stored if all(r.get(k) == v for k, v in identity.items() if k not in varied)
    )
    markdown = layout.markdown(results)
    with complete(folder / "table.md") as temporary:
        temporary.write_text(markdown, encoding="utf-8")
    with picture_may_fail(folder):
        for name, figure in training.figures(results).items():
            save_figure(figure, folder / f"{name}.png")
    return markdown


def _check(file: Path, result: Result, identity: Result) -> None:
    for name, value in identity.items():
        if result.get(name) != value:
            raise ValueError(
                f"{str(file)!r} is of {name} = {result.get(name)}, expected {value}; "
                "choose another folder or remove the file"
            )
