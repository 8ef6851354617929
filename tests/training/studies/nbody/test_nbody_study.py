"""The N-body study: which symmetry wins, and what it says to bad input."""

import json
import re
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from sikff.training.cli.main import parse_command
from sikff.training.read_settings import sentence
from sikff.training.studies.loop import Recipe
from sikff.training.studies.nbody.bayes_error import bayes_prediction, squared_errors
from sikff.training.studies.nbody.nbody_study import NBodySettings, NBodyStudy
from sikff.training.studies.nbody.particle_systems import Springs, simulate
from sikff.training.studies.runner import run
from sikff.training.studies.study import TEST_SEED
from tolerances import TOLERANCES

SMALL = NBodySettings(epochs=1, n_train=60, n_valid=8, n_test=60, weights=25_000)
SIZES = "--epochs 1 --valid 4 --test 8 --weights 25000 --quiet"


@pytest.mark.parametrize(
    ("system", "strength", "smaller"),
    [("springs", "stiffness", "SO(2)"), ("charged", "field", "C_inf_v")],
)
def test_the_largest_group_of_the_data_wins(system: str, strength: str, smaller: str) -> None:
    """Only the smaller group can represent the pull along the axis; where there is none, it has
    more weights to fit and no use for them. Shown by linear maps, which are solved, not trained."""
    base = SMALL.with_changes(model="linear", system=system)
    errors = {
        (group, k): run(NBodyStudy(base.with_changes(group=group, **{strength: k}))).result[
            "test_mse"
        ]
        for group in (smaller, "O(3)")
        for k in (0.0, 25.0)
    }
    assert errors[smaller, 25.0] < errors["O(3)", 25.0] / 3
    assert errors["O(3)", 0.0] < errors[smaller, 0.0]


@pytest.mark.parametrize("model", ["sik", "mpnn"])
def test_results_have_label_bayes_error_and_equivariance(model: str) -> None:
    result = run(NBodyStudy(SMALL.with_changes(model=model, axis=(1.0, 2.0, 2.0)))).result
    assert result["label"] == ("sik SO(2)" if model == "sik" else "mpnn")
    assert result["equivariance_group"] == "SO(2) about (0.3333, 0.6667, 0.6667)"
    test = simulate(Springs(10.0), 60, axis=(1, 2, 2), seed=TEST_SEED)
    assert result["floor"] == pytest.approx(squared_errors(test, bayes_prediction(test)).mean())
    error = result["equivariance_error"]
    assert error > 1e-3 if model == "mpnn" else error < TOLERANCES[torch.float32].equivariance


def test_networks_learn_in_two_stages_what_the_linear_map_leaves() -> None:
    """Each stage ends with weights of a lower validation loss than it began with."""
    settings = SMALL.with_changes(
        stiffness=100.0, springs="given", epochs=3, n_train=120, n_valid=32, n_particles=3
    )
    linear = run(NBodyStudy(settings.with_changes(model="linear")))
    trained = run(NBodyStudy(settings), Recipe(batch_size=8))
    assert not linear.histories and len(trained.histories) == 2
    single, interactions = trained.histories
    assert single.best_epoch >= 0 and min(single.valid) < linear.result["valid_mse"]
    assert min(interactions.valid) == pytest.approx(trained.result["valid_mse"], rel=1e-5)
    assert trained.result["valid_mse"] <= min(single.valid) * (1 + 1e-5)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model": "gnn"}, "unknown model 'gnn'; expected one of sik"),
        ({"system": "planets"}, "system: .*'springs' or 'charged', got 'planets'"),
        ({"field": float("inf")}, "field must be finite; got inf"),
        ({"springs": "some"}, "springs: .*'hidden' or 'given', got 'some'"),
        ({"group": "SU(2)"}, "unknown symmetry group 'SU"),
        ({"axis": (0.0, 0.0, 0.0)}, "axis must be three finite numbers"),
        ({"stiffness": -1.0}, "stiffness must be finite and not negative; got -1"),
        ({"seed": -1}, "seed: .* greater than or equal to 0, got -1"),
        ({"seed": 10**6}, "seed: .* less than 1000000, got 1000000"),
        ({"n_particles": 1}, "n_particles: .* greater than or equal to 2, got 1"),
        ({"n_test": 0}, "n_test: .* greater than or equal to 1, got 0"),
    ],
)
def test_invalid_settings_raise(settings: dict, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        NBodySettings(**settings)
    assert re.search(words, sentence(caught.value))


def test_a_group_after_the_name_of_a_model() -> None:
    assert NBodySettings(model="sik:O(3)").group == "O(3)"
    assert NBodyStudy(NBodySettings(model="linear:O(3)")).label == "linear O(3)"


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


def test_tables_of_both_systems_and_of_several_sizes_of_data(tmp_path: Path) -> None:
    line = f"table --models linear mpnn --seeds 0 {SIZES} --output {tmp_path}"
    command(f"{line} --stiffness 25 --train 4 8")
    shown = (tmp_path / "table.md").read_text()
    assert "stiffness 25, 8 trajectories" in shown and "smooth Bayes error" in shown
    assert (tmp_path / "cells" / "hidden_stiffness25_linear_SO2_n8_seed0.json").exists()
    for picture in ("stiffness.png", "samples.png"):
        assert (tmp_path / picture).stat().st_size > 10_000
    command(f"{line} --train 4 --system charged --field 0 1")
    assert (tmp_path / "cells" / "charged_field1_mpnn_n4_seed0.json").exists()
    shown = (tmp_path / "table.md").read_text()
    assert "field 1" in shown and "stiffness" not in shown and "Bayes" not in shown
    assert (tmp_path / "field.png").exists()
