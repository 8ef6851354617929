"""The study of shapes: which symmetry wins, its files, and what it says to bad input."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from sikff.groups import SymmetryGroup
from sikff.training.cli.main import parse_command
from sikff.training.read_settings import sentence
from sikff.training.studies.runner import run
from sikff.training.studies.shapes.mesh import write_off
from sikff.training.studies.shapes.shape_classes import CLASSES, bound
from sikff.training.studies.shapes.shapes_study import ShapesSettings, ShapesStudy
from tolerances import TOLERANCES

SMALL = ShapesSettings(
    epochs=7, n_train=16, n_valid=2, n_test=10, n_points=32, layers=1, weights=3000, seed=1
)
TINY = SMALL.with_changes(epochs=1, n_train=2, n_valid=1, n_test=2, n_points=16, n_neighbours=4)
QUICK = replace(ShapesStudy.RECIPE, batch_size=24, learning_rate=0.1, averaging=15)
SIZES = "--epochs 1 --train 2 --valid 1 --test 2 --points 16 --neighbours 4 --layers 1 --quiet"


def test_the_right_group_wins() -> None:
    """SO(2) tells apart what O(3) cannot."""
    right, too_large = (
        run(ShapesStudy(SMALL.with_changes(group=g)), QUICK).result for g in ("SO(2)", "O(3)")
    )
    assert right["bound"] == 1.0 and too_large["bound"] == 0.5
    assert right["test_accuracy"] > too_large["test_accuracy"]


@pytest.mark.parametrize("group", ["C_inf_h", "Ci", "C1"])
def test_results_have_accuracy_bound_and_invariance(group: str) -> None:
    outcome = run(ShapesStudy(TINY.with_changes(group=group, kernel="analytic")))
    result = outcome.result
    assert result["label"] == f"{group} analytic"
    assert result["bound"] == bound(SymmetryGroup(group))
    assert result["n_classes"] == 12
    assert 0 <= result["test_accuracy"] <= 1
    assert len(outcome.histories[0].train) == 1
    if group == "C1":
        assert result["invariance_group"] == "SO(2)" and result["invariance_error"] > 1e-3
    else:
        assert result["invariance_group"] == group
        assert result["invariance_error"] < TOLERANCES[torch.float64].invariance


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"group": "SU(2)"}, "unknown symmetry group 'SU"),
        ({"kernel": "wavelet"}, "kernel: .*'implicit', 'analytic' or 'escnn', got 'wavelet'"),
        ({"seed": -1}, "seed: .* greater than or equal to 0, got -1"),
        ({"n_test": 0}, "n_test: .* greater than or equal to 1, got 0"),
        ({"n_points": 63}, "expected at least 64 points; got 63"),
        ({"n_points": 7, "n_neighbours": 1}, "expected at least 8 points; got 7"),
    ],
)
def test_invalid_settings_raise(settings: dict, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ShapesSettings(**settings)
    assert re.search(words, sentence(caught.value))


def command(line: str) -> None:
    run_command, _ = parse_command(["shapes", *line.split()])
    run_command()


def test_a_folder_from_the_command_line(tmp_path: Path, capsys) -> None:
    rng = np.random.default_rng(0)
    for each in CLASSES[:2]:
        for k in range(3):
            write_off(tmp_path / "shapes" / each.name / "train" / f"{k}.off", each.mesh(rng))
        write_off(tmp_path / "shapes" / each.name / "test" / "0.off", each.mesh(rng))
    path = tmp_path / "out.json"
    line = f"--data {tmp_path / 'shapes'} --group Cs --json {path} {SIZES}"
    command(line)
    result = json.loads(path.read_text())
    assert result["n_classes"] == 2 and result["bound"] is None and result["group"] == "Cs"
    assert result["test_accuracy"] in (0.0, 0.5, 1.0)
    shown = capsys.readouterr().out
    assert f"wrote {path}" in shown and "bound" not in shown
    (tmp_path / "shapes" / "box" / "test" / "0.off").rename(tmp_path / "0.off")
    (tmp_path / "shapes" / "box" / "test").rmdir()
    with pytest.raises(ValueError, match="has train or test, but not both, of box"):
        command(line.replace("--quiet", "--seed 1 --test 1 --quiet"))
