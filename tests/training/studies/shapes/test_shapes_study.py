"""The study at smoke size: the order it claims, its files, and what it says to bad input."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sikff.groups import SymmetryGroup
from sikff.training.cli.main import parse_command
from sikff.training.studies.loop import Recipe
from sikff.training.studies.shapes import shapes_table as table
from sikff.training.studies.shapes.mesh import write_off
from sikff.training.studies.shapes.shape_classes import CLASSES, bound
from sikff.training.studies.shapes.shapes_study import RECIPE, Study, run
from tolerances import TOLERANCES

SMOKE = Study(
    epochs=14, n_train=16, n_valid=2, n_test=10, n_points=32, layers=1, weights=3000, seed=1
)
TINY = replace(SMOKE, epochs=1, n_train=2, n_valid=1, n_test=2, n_points=16, n_neighbours=4)
QUICK = Recipe(**{**asdict(RECIPE), "batch_size": 24, "learning_rate": 0.1, "averaging": 15})
SIZES = "--epochs 1 --train 2 --valid 1 --test 2 --points 16 --neighbours 4 --layers 1 --quiet"


def test_the_right_group_wins() -> None:
    """SO(2) tells apart what O(3) cannot."""
    right, too_large = (run(replace(SMOKE, group=g), QUICK).result for g in ("SO(2)", "O(3)"))
    assert right["bound"] == 1.0 and too_large["bound"] == 0.5
    assert right["test_accuracy"] > too_large["test_accuracy"] + 0.2
    assert too_large["test_accuracy"] > 1 / too_large["n_classes"]


@pytest.mark.parametrize("group", ["C_inf_h", "Ci", "C1"])
def test_what_is_reported(group: str) -> None:
    outcome = run(replace(TINY, group=group, kernel="analytic"))
    result = json.loads(json.dumps(outcome.result))
    assert result["label"] == f"{group} analytic"
    assert result["bound"] == bound(SymmetryGroup(group))
    assert result["n_parameters"] == outcome.model.n_parameters
    assert result["n_classes"] == 12 and result["seconds"] > 0
    assert 0 <= result["test_accuracy"] <= 1
    assert len(outcome.history.train) == 1
    if group == "C1":
        assert result["invariance_group"] == "SO(2)" and result["invariance_error"] > 1e-3
    else:
        assert result["invariance_group"] == group
        assert result["invariance_error"] < TOLERANCES[torch.float64].invariance


def test_the_seed_decides() -> None:
    first, again, other = (run(replace(TINY, seed=seed)).history.train for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"group": "SU(2)"}, "SU"),
        (
            {"kernel": "wavelet"},
            "unknown kernel 'wavelet'; expected one of implicit, analytic, escnn",
        ),
        ({"seed": -1}, "seed must be at least 0"),
        ({"n_test": 0}, "n_test must be 1 or more; got 0"),
        ({"n_points": 63}, "expected at least 64 points; got 63"),
        ({"n_points": 7, "n_neighbours": 1}, "expected at least 8 points; got 7"),
    ],
)
def test_bad_settings(settings: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Study(**settings)


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


def test_a_table_goes_on_where_it_was(tmp_path: Path, capsys, monkeypatch) -> None:
    line = f"table --groups O(2) C1 --output {tmp_path} {SIZES}"
    command(f"{line} --seeds 0")
    first = {path.name: path.read_text() for path in (tmp_path / "cells").iterdir()}
    assert len(first) == 4
    assert "C_inf_v_analytic_seed0.json" in first
    studied = []
    original = table.run
    monkeypatch.setattr(
        table, "run", lambda study, **options: studied.append(study) or original(study, **options)
    )
    command(f"{line} --seeds 0 1")
    assert [study.seed for study in studied] == [1] * 4
    for name, text in first.items():
        assert (tmp_path / "cells" / name).read_text() == text
    shown = (tmp_path / "table.md").read_text()
    assert shown in capsys.readouterr().out
    assert "| C_inf_v | 0.750 |" in shown and shown.count("±") == 4
    assert (tmp_path / "accuracy.png").stat().st_size > 10_000

    with pytest.raises(ValueError, match="is of epochs = 1, expected 2; choose another folder"):
        command(f"{line} --seeds 0 --epochs 2")
