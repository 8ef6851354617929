"""The runner of all studies: seeds, tables that are resumed, and tests of symmetry."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from sikff.groups import SymmetryGroup
from sikff.training.cli.main import parse_command
from sikff.training.studies import runner
from sikff.training.studies.molecules.property_model import VARIANTS, PropertySettings
from sikff.training.studies.molecules.property_study import PropertyStudy
from sikff.training.studies.molecules.qm9_dataset import Dataset
from sikff.training.studies.nbody.nbody_study import NBodySettings, NBodyStudy
from sikff.training.studies.runner import grid, run, run_table, symmetry_error
from sikff.training.studies.shapes.point_clouds import Clouds
from sikff.training.studies.shapes.shape_network import KERNELS
from sikff.training.studies.shapes.shapes_study import ShapesSettings, ShapesStudy
from sikff.training.studies.study import Study
from symmetry_cases import randn
from tolerances import TOLERANCES

MOLECULES = Path(__file__).parents[3] / "examples" / "data" / "molecules.sdf.gz"
STORED = Path(__file__).parent / "stored_results"  # written by version 0 (commit e4d01dd)
NBODY = NBodySettings(epochs=1, n_train=16, n_valid=4, n_test=8, weights=25_000)
SHAPES = ShapesSettings(
    epochs=1, n_train=2, n_valid=1, n_test=2, n_points=16, n_neighbours=4, layers=1
)
QM9 = PropertySettings(data=MOLECULES, epochs=1, n_train=32, n_valid=8, channels=4, convolutions=2)
# study, settings, and the values of its table
TABLES: dict[str, tuple[type[Study], object, dict[str, tuple]]] = {
    "nbody": (
        NBodyStudy,
        NBODY,
        {"model": ("linear:SO(2)", "segnn"), "stiffness": (25.0,), "n_train": (16,), "seed": (0,)},
    ),
    "qm9": (PropertyStudy, QM9, {"variant": ("implicit",), "target": ("homo",), "seed": (0,)}),
    "shapes": (ShapesStudy, SHAPES, {"kernel": ("analytic",), "group": ("O(2)",), "seed": (0,)}),
}
COMMANDS = {
    "nbody": "nbody table --models linear:O(3) mpnn --stiffness 0 25 --train 8 --epochs 1 "
    "--valid 4 --test 8 --weights 25000",
    "qm9": "qm9 table --data {folder} --targets homo gap --variants implicit bonds --epochs 1 "
    "--train 16 --valid 4 --channels 2 --convolutions 1 --kernel-fields 1",
    "shapes": "shapes table --groups O(2) C1 --kernels analytic --epochs 1 --train 2 --valid 1 "
    "--test 2 --points 16 --neighbours 4 --layers 1 --weights 3000",
}


def command(line: str) -> None:
    run_command, _ = parse_command(line.split())
    run_command()


@pytest.fixture
def count_runs(monkeypatch: pytest.MonkeyPatch) -> list[Study]:
    """The trainings that were run."""
    runs: list[Study] = []

    def counted(study: Study, *arguments: object, **options: object) -> object:
        runs.append(study)
        return run(study, *arguments, **options)

    monkeypatch.setattr(runner, "run", counted)
    return runs


@pytest.mark.parametrize("name", COMMANDS)
def test_an_interrupted_table_is_resumed(
    name: str, sdf_folder: Path, capsys: pytest.CaptureFixture, count_runs: list[Study]
) -> None:
    folder = sdf_folder / "table"
    line = f"{COMMANDS[name].format(folder=sdf_folder)} --quiet --output {folder}"
    command(f"{line} --seeds 0")
    first = {path.name: path.read_text() for path in (folder / "cells").iterdir()}
    n = len(first)
    assert len(count_runs) == n
    command(f"{line} --seeds 0 1")
    assert [study.settings.seed for study in count_runs[n:]] == [1] * n
    for file, text in first.items():
        assert (folder / "cells" / file).read_text() == text
    shown = (folder / "table.md").read_text()
    assert shown in capsys.readouterr().out
    assert shown.count("±") == n + 2 * (name == "qm9")  # the reference row of qm9 varies too
    names = {"nbody": "stiffness", "qm9": "errors", "shapes": "accuracy"}
    assert (folder / f"{names[name]}.png").stat().st_size > 10_000
    with pytest.raises(ValueError, match="is of epochs = 1, expected 2; choose another folder"):
        command(f"{line} --seeds 0 --epochs 2")


@pytest.mark.parametrize("name", TABLES)
def test_results_of_the_first_version_are_not_computed_again(
    name: str, tmp_path: Path, count_runs: list[Study]
) -> None:
    study, settings, several = TABLES[name]
    shutil.copytree(STORED, tmp_path / "cells")
    shown = run_table(study, grid(settings, several), tmp_path, report=pytest.fail)
    assert not count_runs
    expected = {
        "nbody": ["| segnn | 24400 | 7.74e-02 |", "| linear SO(2) | 25 | 1.32e-03 |"],
        "qm9": ["| implicit | 7935 | 595.3 |", "| always the median | | 639.5 |"],
        "shapes": ["| C_inf_v | 0.750 | 0.250 |"],
    }[name]
    assert shown.splitlines()[2 : 2 + len(expected)] == expected


def test_a_table_shows_the_results_of_earlier_calls(tmp_path: Path) -> None:
    """Of the same settings, in the order of the models and not of the calls."""
    for model in ("linear:SO(2)", "linear:O(3)"):
        settings = [NBODY.with_changes(model=model)]
        shown = run_table(NBodyStudy, settings, tmp_path, report=lambda line: None)
    rows = [line.split("|")[1].strip() for line in shown.splitlines()[2:]]
    assert rows == ["linear O(3)", "linear SO(2)", "smooth Bayes error"]
    other = [NBODY.with_changes(model="linear", n_test=9, n_train=17)]
    shown = run_table(NBodyStudy, other, tmp_path, report=lambda line: None)
    assert "O(3)" not in shown  # another test set


@pytest.fixture(params=TABLES)
def small(request: pytest.FixtureRequest, stand_in: Dataset) -> Callable[[int], Study]:
    """The smallest training of each study, for a seed."""
    study, settings, _ = TABLES[request.param]
    source = stand_in.select(range(60)) if study is PropertyStudy else None
    return lambda seed: study(settings.with_changes(seed=seed), source)


def test_the_seed_determines_the_result(small: Callable[[int], Study]) -> None:
    first, again, other = (run(small(seed)).histories[0].train for seed in (0, 0, 1))
    assert first == again != other


def test_results_are_json_and_contain_the_settings(small: Callable[[int], Study]) -> None:
    study = small(5)
    outcome = run(study)
    result = outcome.result
    assert json.loads(json.dumps(result)) == result
    assert all(result[name] == value for name, value in study.identity().items())
    assert result["label"] == study.label and result["seconds"] > 0
    assert result["n_parameters"] == sum(w.numel() for w in outcome.model.parameters())
    assert result[f"{study.SYMMETRY}_error"] < TOLERANCES[torch.float32].equivariance
    assert not outcome.model.training


@pytest.mark.parametrize("name", ["nbody", "shapes"])
def test_commands_without_options_have_the_defaults_of_the_settings(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(study: Study, **options: object) -> None:
        assert study.settings == study.SETTINGS()
        raise KeyboardInterrupt

    monkeypatch.setattr("sikff.training.cli.studies.run", stop)
    with pytest.raises(KeyboardInterrupt):
        command(name)


def test_settings_offer_all_kernels_that_there_are() -> None:
    offered = PropertySettings.model_fields["variant"].annotation
    assert get_args(offered) == tuple(VARIANTS)
    assert get_args(ShapesSettings.model_fields["kernel"].annotation) == tuple(KERNELS)


class Sum(nn.Module):
    """A score that is invariant, or not."""

    def __init__(self, group: str, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.group, self.function = SymmetryGroup(group), function
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, clouds: Clouds) -> Tensor:
        return self.weight * self.function(clouds.points).sum(dim=(1, 2))


def test_symmetry_is_measured_in_float64_for_the_group_of_the_model_or_of_the_data() -> None:
    clouds = Clouds(randn(40, 5, 3, seed=0), randn(40, 5, 3, seed=1)).to("cpu", torch.float32)
    study = ShapesStudy(SHAPES)

    def squared(points: Tensor) -> Tensor:
        return points.square()

    group, error = symmetry_error(study, Sum("O(3)", squared), clouds)
    assert group == "O(3)" and error < TOLERANCES[torch.float64].invariance
    assert symmetry_error(study, Sum("O(3)", torch.exp), clouds)[1] > 1e-3
    group, error = symmetry_error(study, Sum("C1", torch.exp), clouds)
    assert group == "SO(2)" and error > 1e-3
