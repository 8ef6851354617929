"""The study of molecules: what it claims, and what it says to bad input."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from sikff.training.cli.main import parse_command
from sikff.training.read_settings import sentence
from sikff.training.studies.loop import Recipe
from sikff.training.studies.molecules.molecule_graphs import graphs_of
from sikff.training.studies.molecules.property_model import PropertySettings
from sikff.training.studies.molecules.property_study import PropertyStudy
from sikff.training.studies.molecules.qm9_dataset import Dataset, split
from sikff.training.studies.runner import Outcome, run
from sikff.training.studies.samples import predict
from tolerances import TOLERANCES

SINGLE = TOLERANCES[torch.float32]
TINY = {"channels": 4, "convolutions": 2, "kernel_fields": 2}


def trained(dataset: Dataset, recipe: Recipe | None = None, **settings: object) -> Outcome:
    return run(PropertyStudy(PropertySettings(**settings), dataset), recipe)


def test_only_kernels_with_bonds_learn_a_property_of_bond_orders(stand_in: Dataset) -> None:
    """Orders of bonds are drawn at random, so that geometries say nothing about them."""
    drawn = np.random.default_rng(0).integers(1, 4, size=90)
    pairs = zip(stand_in.molecules[:90], drawn, strict=True)
    molecules = [m._replace(orders=np.full(len(m.bonds), order)) for m, order in pairs]
    made_up = Dataset("made up", molecules, {"mu": 1.0 * (drawn == 3)})
    recipe = Recipe(batch_size=8, learning_rate=0.02)
    errors = {
        variant: trained(
            made_up, recipe, target="mu", variant=variant, epochs=4, n_train=60, n_valid=10, **TINY
        ).result["test_mae"]
        for variant in ("implicit", "bonds")
    }
    assert errors["bonds"] < 0.5 * errors["implicit"]


def test_the_error_is_that_of_the_predictions(stand_in: Dataset) -> None:
    """The error is that of the predictions in meV, on molecules that were not trained on."""
    few = stand_in.select(np.arange(60))
    settings = PropertySettings(epochs=1, seed=5, n_train=32, n_valid=8, **TINY)
    study = PropertyStudy(settings, few)
    outcome = run(study)
    result = outcome.result
    assert (result["n_train"], result["n_valid"], result["n_test"]) == (32, 8, 20)
    train, _, test = split(60, 5, 32, 8)
    molecules = [few.molecules[k] for k in test]
    predicted = predict(outcome.model, graphs_of(molecules).to("cpu", torch.float32), 7)
    predicted = study.scaling.restore(np.zeros((20, 5)), predicted.numpy())
    wanted = few.columns["homo"] * 27.211386
    error = 1000 * np.abs(predicted - wanted[test]).mean()
    assert result["test_mae"] == pytest.approx(error, rel=SINGLE.parity)
    median = np.sort(wanted[train])[15:17]  # any number between them is one
    floor = [1000 * np.abs(each - wanted[test]).mean() for each in median]
    assert min(floor) - 1 < result["median_mae"] < max(floor) + 1
    assert result["unit"] == "meV" and result["data"] == "molecules.sdf.gz"


def test_energies_of_elements_do_not_enter_errors(stand_in: Dataset) -> None:
    """-1000 eV for every carbon changes nothing."""
    few = stand_in.select(np.arange(40))
    carbons = np.array([np.count_nonzero(m.numbers == 6) for m in few.molecules])
    small = np.random.default_rng(0).normal(size=40)
    errors = [
        trained(
            Dataset("made up", few.molecules, {"u0": small - 37.0 * n * carbons}),
            target="u0",
            epochs=1,
            **TINY,
        ).result["test_mae"]
        for n in (0, 1)
    ]
    assert errors[1] == pytest.approx(errors[0], rel=SINGLE.parity)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"target": "gap2"}, "unknown target 'gap2'; expected one of mu, alpha, homo"),
        ({"variant": "atoms"}, "variant: .*'analytic', 'implicit', .* got 'atoms'"),
        ({"graph": "knn"}, "graph: .*'covalent' or 'radius', got 'knn'"),
        ({"group": "SU(2)"}, "unknown symmetry group 'SU"),
        ({"cutoff": float("nan")}, "cutoff: .* finite number, got nan"),
        ({"seed": -1}, "seed: .* greater than or equal to 0, got -1"),
        ({"epochs": 0}, "epochs: .* greater than or equal to 1, got 0"),
        ({"kernel_layers": 1}, "kernel_layers: .* greater than or equal to 2, got 1"),
    ],
)
def test_invalid_settings_raise(settings: dict, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        PropertySettings(**settings)
    assert re.search(words, sentence(caught.value))


def test_unknown_bonds_raise(stand_in: Dataset) -> None:
    bare = [m._replace(bonds=None, orders=None) for m in stand_in.molecules[:30]]
    columns = {"homo": stand_in.columns["homo"][:30]}
    dataset = Dataset("dsgdb9nsd.xyz.tar.bz2", bare, columns)
    for settings in ({"variant": "implicit"}, {"variant": "bonds", "graph": "radius"}):
        with pytest.raises(ValueError, match="bonds are not known"):
            trained(dataset, **settings)
    settings = {"variant": "implicit", "graph": "radius", "cutoff": 2.5, "epochs": 1, **TINY}
    assert trained(dataset, **settings).result["test_mae"] > 0


def command(line: str) -> None:
    run_command, _ = parse_command(["qm9", *line.split()])
    run_command()


SIZES = "--epochs 1 --train 16 --valid 4 --channels 4 --convolutions 2 --quiet"


def test_one_training_from_the_command_line(
    sdf_folder: Path, capsys: pytest.CaptureFixture
) -> None:
    path = sdf_folder / "out.json"
    command(f"--data {sdf_folder} --target gap --variant implicit {SIZES} --json {path}")
    result = json.loads(path.read_text())
    assert {"test_mae", "n_parameters", "seconds", "invariance_error"} <= result.keys()
    assert result["target"] == "gap" and result["variant"] == "implicit"
    assert result["data"] == "few.sdf" and result["n_molecules"] == 24
    assert f"wrote {path}" in capsys.readouterr().out
    with pytest.raises(
        ValueError, match=r"got no molecules; give --data gdb9.sdf, which has bonds, or .* at https"
    ):
        command(SIZES)
