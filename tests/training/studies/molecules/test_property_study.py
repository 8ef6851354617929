"""The study at smoke size: what it claims, its files, and what it says to bad input."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sikff.training.cli.main import parse_command
from sikff.training.studies.loop import Recipe
from sikff.training.studies.molecules import property_table as table
from sikff.training.studies.molecules.molecule_graphs import graphs_of
from sikff.training.studies.molecules.property_study import Study, predict, run
from sikff.training.studies.molecules.qm9_dataset import Dataset, split
from tolerances import TOLERANCES

SINGLE = TOLERANCES[torch.float32]
TINY = {"channels": 4, "convolutions": 2, "kernel_fields": 2}


def test_kernels_that_see_bonds_and_elements_win(stand_in: Dataset) -> None:
    few, recipe = stand_in.select(np.arange(400)), Recipe(batch_size=12, learning_rate=0.015)
    errors = {}
    for variant in ("analytic", "bonds+atoms"):
        study = Study(
            variant=variant, epochs=8, n_train=240, n_valid=40, channels=6, convolutions=2
        )
        result = run(study, few, recipe).result
        errors[variant] = result["test_mae"]
        assert result["test_mae"] < result["median_mae"]
    assert errors["bonds+atoms"] < 0.93 * errors["analytic"]


def test_what_is_reported(stand_in: Dataset) -> None:
    """The error is that of the predictions in meV, on molecules that were not trained on."""
    few = stand_in.select(np.arange(60))
    study = Study(epochs=1, seed=5, n_train=32, n_valid=8, **TINY)
    outcome = run(study, few)
    result = outcome.result
    assert json.loads(json.dumps(result)) == result
    assert (result["n_train"], result["n_valid"], result["n_test"]) == (32, 8, 20)
    train, _, test = split(60, 5, 32, 8)
    molecules = [few.molecules[k] for k in test]
    said = predict(outcome.model, graphs_of(molecules).to("cpu", torch.float32))
    said = outcome.scaling.restore(np.zeros((20, 5)), said.numpy())
    wanted = few.columns["homo"] * 27.211386
    error = 1000 * np.abs(said - wanted[test]).mean()
    assert result["test_mae"] == pytest.approx(error, rel=SINGLE.parity)
    median = np.sort(wanted[train])[15:17]  # any number between them is one
    floor = [1000 * np.abs(each - wanted[test]).mean() for each in median]
    assert min(floor) - 1 < result["median_mae"] < max(floor) + 1
    assert result["unit"] == "meV" and result["data"] == "molecules.sdf.gz"
    assert result["invariance_error"] < SINGLE.invariance
    assert result["n_parameters"] == outcome.model.n_parameters


def test_the_seed_decides(stand_in: Dataset) -> None:
    few = stand_in.select(np.arange(40))
    first, again, other = (
        run(Study(epochs=1, seed=seed, **TINY), few).result["test_mae"] for seed in (0, 0, 1)
    )
    assert first == again != other


def test_energies_of_elements_do_not_enter_errors(stand_in: Dataset) -> None:
    """-1000 eV for every carbon changes nothing."""
    few = stand_in.select(np.arange(40))
    carbons = np.array([np.count_nonzero(m.numbers == 6) for m in few.molecules])
    small = np.random.default_rng(0).normal(size=40)
    errors = [
        run(
            Study(target="u0", epochs=1, **TINY),
            Dataset("made up", few.molecules, {"u0": small - 37.0 * n * carbons}),
        ).result["test_mae"]
        for n in (0, 1)
    ]
    assert errors[1] == pytest.approx(errors[0], rel=SINGLE.parity)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"target": "gap2"}, "unknown target 'gap2'; expected one of mu, alpha, homo"),
        ({"variant": "atoms"}, "unknown variant 'atoms'; expected one of analytic, implicit"),
        ({"graph": "knn"}, "unknown graph 'knn'; expected one of covalent, radius"),
        ({"group": "SU(2)"}, "SU"),
        ({"cutoff": float("nan")}, "cutoff must be finite and above 0 Å; got nan"),
        ({"seed": -1}, "seed must be 0 or more; got -1"),
        ({"epochs": 0}, "epochs must be 1 or more; got 0"),
        ({"kernel_layers": 1}, "kernel_layers must be 2 or more; got 1"),
    ],
)
def test_bad_settings(settings: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Study(**settings)


def test_bonds_that_are_not_known(stand_in: Dataset) -> None:
    bare = [m._replace(bonds=None, orders=None) for m in stand_in.molecules[:30]]
    columns = {"homo": stand_in.columns["homo"][:30]}
    dataset = Dataset("dsgdb9nsd.xyz.tar.bz2", bare, columns)
    for study in (Study(variant="implicit"), Study(variant="bonds", graph="radius")):
        with pytest.raises(ValueError, match="bonds are not known"):
            run(study, dataset)
    implicit = Study(variant="implicit", graph="radius", cutoff=2.5, epochs=1, **TINY)
    assert run(implicit, dataset).result["test_mae"] > 0


def command(line: str) -> None:
    run_command, _ = parse_command(["qm9", *line.split()])
    run_command()


@pytest.fixture
def folder(stand_in: Dataset, tmp_path: Path) -> Path:
    """The first of the molecules, as files."""
    blocks, rows = [], ["mol_id,homo,gap"]
    for k, molecule in enumerate(stand_in.molecules[:24]):
        n, m = len(molecule.numbers), len(molecule.bonds)
        lines = [molecule.name, "", "", f"{n:3d}{m:3d}  0  0  0  0  0  0  0  0999 V2000"]
        for number, (x, y, z) in zip(molecule.numbers, molecule.positions, strict=True):
            symbol = {1: "H", 6: "C", 7: "N", 8: "O", 9: "F"}[int(number)]
            lines.append(f"{x:10.4f}{y:10.4f}{z:10.4f} {symbol:3s} 0")
        for (i, j), order in zip(molecule.bonds, molecule.orders, strict=True):
            lines.append(f"{i + 1:3d}{j + 1:3d}{order:3d}")
        blocks.append("\n".join([*lines, "M  END", "$$$$\n"]))
        rows.append(
            ",".join([molecule.name, *(f"{stand_in.columns[c][k]}" for c in ("homo", "gap"))])
        )
    (tmp_path / "few.sdf").write_text("".join(blocks))
    (tmp_path / "few.sdf.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


SIZES = "--epochs 1 --train 16 --valid 4 --channels 4 --convolutions 2 --quiet"


def test_one_training_from_the_command_line(folder: Path, capsys: pytest.CaptureFixture) -> None:
    path = folder / "out.json"
    command(f"--data {folder} --target gap --variant implicit {SIZES} --json {path}")
    result = json.loads(path.read_text())
    assert {"test_mae", "n_parameters", "seconds", "invariance_error"} <= result.keys()
    assert result["target"] == "gap" and result["variant"] == "implicit"
    assert result["data"] == "few.sdf" and result["n_molecules"] == 24
    assert f"wrote {path}" in capsys.readouterr().out
    with pytest.raises(
        ValueError, match=r"got no molecules; give --data gdb9.sdf, which has bonds, or .* at https"
    ):
        command(SIZES)


def test_a_table_goes_on_where_it_was(
    folder: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = folder / "table"
    line = f"table --data {folder} --targets homo gap {SIZES} --output {output}"
    command(f"{line} --variants implicit bonds --seeds 0")
    first = {path.name: path.read_text() for path in (output / "cells").iterdir()}
    assert len(first) == 4 and "gap_bonds_seed0.json" in first
    studied = []
    original = table.run
    monkeypatch.setattr(
        table,
        "run",
        lambda study, *data, **options: studied.append(study) or original(study, *data, **options),
    )
    command(f"{line} --variants implicit bonds bonds+atoms --seeds 0 1")
    assert len(studied) == 2 * 3 * 2 - 4
    for name, text in first.items():
        assert (output / "cells" / name).read_text() == text
    shown = (output / "table.md").read_text()
    assert shown in capsys.readouterr().out
    assert "| homo (meV) | gap (meV) |" in shown and shown.count("±") == 4 * 2
    assert (output / "errors.png").stat().st_size > 10_000

    with pytest.raises(ValueError, match="is of epochs = 1, expected 2; choose another folder"):
        command(f"{line} --variants bonds --seeds 0 --epochs 2")
