"""The study at smoke size: the order it claims, its files, and what it says to bad input."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sikff.training.cli.main import parse_command
from sikff.training.studies.loop import Recipe
from sikff.training.studies.nbody import nbody_table as table
from sikff.training.studies.nbody.bayes_floor import bayes_prediction, squared_errors
from sikff.training.studies.nbody.nbody_study import TEST_SEED, Study, run
from sikff.training.studies.nbody.particle_systems import Springs, simulate
from tolerances import TOLERANCES

SMOKE = Study(epochs=4, n_train=160, n_valid=32, n_test=100, weights=25_000)
SIZES = "--epochs 1 --valid 4 --test 8 --weights 25000 --quiet"


def test_the_right_group_wins() -> None:
    """At k = 25 only SO(2) knows where down is; at k = 0 there is no down."""
    errors = {
        (group, k): run(replace(SMOKE, group=group, stiffness=k)).result["test_mse"]
        for group in ("SO(2)", "O(3)")
        for k in (0.0, 25.0)
    }
    assert 3 * errors["SO(2)", 25.0] < errors["O(3)", 25.0]
    assert errors["O(3)", 0.0] < 1.05 * errors["SO(2)", 0.0]


def test_charged_particles_in_a_field() -> None:
    """The smaller group is the better one in a field, and the worse one where there is none."""
    charged = replace(SMOKE, system="charged", n_train=600, epochs=8)
    errors = {
        (group, field): run(replace(charged, group=group, field=field)).result["test_mse"]
        for group in ("C_inf_v", "O(3)")
        for field in (0.0, 2.0)
    }
    assert errors["C_inf_v", 2.0] < 0.8 * errors["O(3)", 2.0]
    assert errors["O(3)", 0.0] < 0.9 * errors["C_inf_v", 0.0]


@pytest.mark.parametrize("model", ["sik", "mpnn"])
def test_what_is_reported(model: str) -> None:
    outcome = run(replace(SMOKE, model=model, epochs=1, axis=(1.0, 2.0, 2.0)))
    result = outcome.result
    assert json.loads(json.dumps(result))["label"] == ("sik SO(2)" if model == "sik" else "mpnn")
    assert result["n_parameters"] == outcome.model.n_parameters
    assert result["seconds"] > 0
    test = simulate(Springs(10.0), 100, axis=(1, 2, 2), seed=TEST_SEED)
    assert result["floor"] == pytest.approx(squared_errors(test, bayes_prediction(test)).mean())
    broken = result["equivariance_error"] > 1e-3
    assert (
        broken
        if model == "mpnn"
        else result["equivariance_error"] < TOLERANCES[torch.float32].equivariance
    )


def test_training_helps_and_the_seed_decides() -> None:
    stiff = replace(SMOKE, stiffness=100.0, springs="given")
    linear = run(replace(stiff, model="linear")).result
    first, again, other = (
        run(replace(stiff, seed=seed), Recipe(batch_size=8)).result for seed in (0, 0, 1)
    )
    assert first["test_mse"] < 0.9 * linear["test_mse"]
    assert first["test_mse"] == again["test_mse"] != other["test_mse"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model": "gnn"}, "unknown model 'gnn'; expected one of sik"),
        ({"system": "planets"}, "unknown system 'planets'; expected one of springs, charged"),
        ({"field": float("inf")}, "field must be finite; got inf"),
        ({"springs": "some"}, "unknown springs 'some'; expected one of hidden, given"),
        ({"group": "SU(2)"}, "SU"),
        ({"axis": (0.0, 0.0, 0.0)}, "axis must be three finite numbers"),
        ({"stiffness": -1.0}, "stiffness must be finite and not negative; got -1"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"n_particles": 1}, "expected 2 particles at least; got 1"),
        ({"n_test": 0}, "n_test must be 1 or more; got 0"),
    ],
)
def test_bad_settings(settings: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Study(**settings)


def command(line: str) -> None:
    run_command, _ = parse_command(["nbody", *line.split()])
    run_command()


def test_one_training_from_the_command_line(tmp_path: Path, capsys) -> None:
    path = tmp_path / "out.json"
    command(f"--model egnn --stiffness 5 --springs given --train 16 {SIZES} --json {path}")
    result = json.loads(path.read_text())
    assert {"test_mse", "n_parameters", "seconds", "equivariance_error"} <= result.keys()
    assert result["stiffness"] == 5.0 and result["springs"] == "given" and result["floor"] is None
    assert f"wrote {path}" in capsys.readouterr().out


def test_a_table_goes_on_where_it_was(tmp_path: Path, capsys, monkeypatch) -> None:
    line = f"table --models sik:C_inf_v linear mpnn --stiffness 0 25 {SIZES} --output {tmp_path}"
    command(f"{line} --seeds 0 --train 16")
    first = {path.name: path.read_text() for path in (tmp_path / "cells").iterdir()}
    assert len(first) == 6
    assert "hidden_stiffness25_sik_C_inf_v_n16_seed0.json" in first
    studied = []
    original = table.run
    monkeypatch.setattr(
        table, "run", lambda study, **options: studied.append(study) or original(study, **options)
    )
    command(f"{line} --seeds 0 1 --train 8 16")
    assert len(studied) == 3 * 2 * 3
    assert not any(study.seed == 0 and study.n_train == 16 for study in studied)
    for name, text in first.items():
        assert (tmp_path / "cells" / name).read_text() == text
    shown = (tmp_path / "table.md").read_text()
    assert shown in capsys.readouterr().out
    assert "stiffness 25, 16 trajectories" in shown and "smooth Bayes floor" in shown
    assert shown.count("±") == 3 * 4
    for picture in ("stiffness.png", "samples.png"):
        assert (tmp_path / picture).stat().st_size > 10_000

    command(f"{line} --seeds 0 --train 8 --system charged --field 0 1")
    assert (tmp_path / "cells" / "charged_field1_mpnn_n8_seed0.json").exists()
    assert (tmp_path / "field.png").exists() and "field 1" in (tmp_path / "table.md").read_text()

    with pytest.raises(ValueError, match="is of epochs = 1, expected 2; choose another folder"):
        command(f"{line} --seeds 0 --train 16 --epochs 2")
