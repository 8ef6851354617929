"""The sikff command: a run from data to dynamics, and one sentence for each error."""

import json
import os
import subprocess
import sys
from pathlib import Path

import ase.io
import pytest
import torch
import yaml

import sikff
from force_fields import force_field
from sikff.forcefield.model_file import FORMAT_VERSION
from sikff.training.cli import main
from sikff.training.config import TrainConfig
from sikff.training.evaluation.plots import read_log

MODEL = Path(__file__).parents[2] / "data" / "format_1" / "O3.sikff"


def exit_code(arguments: str) -> object:
    """The exit code of the command, returned or raised by argparse."""
    try:
        return main(arguments.split())
    except SystemExit as end:
        return end.code


@pytest.fixture
def run_folder(tmp_path: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    return tmp_path


def test_a_run_from_data_to_dynamics(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "config.yaml", "max_epochs=2", "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["train", "config.yaml", "--resume", "max_epochs=3"]) == 0
    assert "wrote " in capsys.readouterr().out
    log = read_log("run/log.csv")
    assert list(log["epoch"]) == [0, 1, 2]
    assert Path("run/learning_curves.png").exists()
    assert Path("run/parity.png").exists()
    model = "run/model.sikff"
    assert main(["evaluate", model, "train.xyz", "--device", "cpu", "--json", "out/e.json"]) == 0
    printed = capsys.readouterr().out
    metrics = json.loads(Path("out/e.json").read_text())
    assert f"{metrics['force_mae_mev_per_a']:.4g}" in printed
    assert f"Ni {metrics['force_mae_by_element']['Ni']:.4g}" in printed
    assert metrics["n_frames"] == 12
    assert "wrote out/parity_train.png" in printed
    validation_plot = Path("run/parity.png").read_bytes()
    assert main(["evaluate", model, "train.xyz", "--plots", "run"]) == 0
    assert Path("run/parity.png").read_bytes() == validation_plot
    assert Path("out/parity_train.png").exists()
    assert main(["evaluate", model, "train.xyz", "--plots", "plots"]) == 0
    assert main(["evaluate", model, "train.xyz", "--committee", model]) == 0
    assert "force_std_mev_per_a          0\n" in capsys.readouterr().out  # it agrees with itself
    assert Path("plots/parity_train.png").exists()
    assert Path("parity_train.png").exists()
    capsys.readouterr()
    assert main(["info", model]) == 0
    summary, _, sections = capsys.readouterr().out.partition("\n\n")
    described = yaml.safe_load(sections)
    assert described["model"]["elements"] == ["Ni", "Cu"]
    resumed = log["valid_loss"][2] <= 1.02 * min(log["valid_loss"])  # the third epoch is kept
    assert described["provenance"]["training"]["max_epochs"] == (3 if resumed else 2)
    version = f"version {FORMAT_VERSION}"
    for said in ("O(3) force field for Ni, Cu", "4 Å", "in float64", version, "none"):
        assert said in summary
    ase.io.write("start.xyz", ase.io.read("train.xyz", index="0"))
    assert main(["md", model, "start.xyz", "--device", "cpu", "--steps", "4", "--quiet"]) == 0
    assert Path("md.csv").exists()


def test_a_student_learns_from_the_dynamics_of_a_committee(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ase.io.write("start.xyz", ase.io.read("train.xyz", index="0"))
    for seed in ("0", "1"):
        assert (
            main(["train", "config.yaml", f"seed={seed}", f"output=run{seed}", "max_epochs=1"]) == 0
        )
    models = ["run0/model.sikff", "run1/model.sikff"]
    run = ["--device", "cpu", "--steps", "4", "--every", "2", "--trajectory", "md.traj"]
    assert main(["md", models[0], "start.xyz", *run]) == 0
    label = ["--committee", models[1], "--output", "more.xyz"]
    capsys.readouterr()
    assert main(["predict", models[0], "md.traj", *label]) == 0
    shown = capsys.readouterr()
    assert "largest_force_std_mev_per_a " in shown.out
    assert "wrote more.xyz, 3 structures" in shown.out
    assert "3/3" in shown.err
    assert (
        main(["evaluate", models[0], "more.xyz", "--committee", models[1], "--json", "e.json"]) == 0
    )
    found = json.loads(Path("e.json").read_text())
    assert found["n_frames"] == 3
    assert found["force_mae_mev_per_a"] < 1e-4 < found["force_std_mev_per_a"]
    capsys.readouterr()
    data = "data.train=[train.xyz, more.xyz]"
    assert main(["train", "config.yaml", data, "output=student", "max_epochs=1"]) == 0
    assert "12 training and 3 validation structures" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train absent.yaml", "no configuration file 'absent.yaml'"),
        ("train config.yaml modle.group=O(3)", "unknown key modle; did you mean model?"),
        ("train config.yaml data.train=absent.xyz", "no data file 'absent.xyz'"),
        ("train config.yaml data.forces_key=mine", "no forces (looked for mine)"),
        ("evaluate absent.sikff train.xyz", "no model file 'absent.sikff'"),
        ("info config.yaml", "'config.yaml' is not a sikff model file"),
        ("evaluate {model} train.xyz --device gpu", "device is 'gpu', which torch "),
        ("evaluate {model} train.xyz", "train.xyz"),
        (
            "evaluate {model} train.xyz --batch-size 0",
            "batch_size: input should be greater",
        ),
        ("info .", "no model file '.'"),
        ("train . ", "no configuration file '.'"),
        ("train config.yaml lr=1 --quiet --max_epochs=3", "unrecognized arguments: --max_epochs=3"),
        ("", "the following arguments are required: COMMAND; see sikff --help"),
        ("trian", "argument COMMAND: invalid choice: 'trian'"),
        ("md m.sikff -- --", "-- may come once only"),
        ("nbody table --seed x", "seeds: input should be a valid integer"),
    ],
)
def test_errors_are_one_sentence(
    run_folder: Path, capsys: pytest.CaptureFixture[str], arguments: str, message: str
) -> None:
    assert exit_code(arguments.format(model=MODEL)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("sikff: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("variable", [False, True])
def test_the_traceback_of_an_error_is_shown_on_request(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, variable: bool
) -> None:
    sentence = "sikff: no model file 'absent.sikff'\n"
    monkeypatch.setenv("SIKFF_TRACEBACK", "0")
    assert main(["info", "absent.sikff"]) == 2
    assert capsys.readouterr().err == sentence
    if variable:
        monkeypatch.setenv("SIKFF_TRACEBACK", "1")
    assert main(["info", "absent.sikff", *([] if variable else ["--traceback"])]) == 2
    error = capsys.readouterr().err
    assert error.startswith("Traceback (most recent call last):\n")
    assert "in read_header\n" in error or "model_file.py" in error
    assert error.endswith(f"\n{sentence}")


def test_errors_of_other_packages_point_to_the_traceback(
    run_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise ValueError("shapes do not match")

    monkeypatch.setattr("sikff.training.evaluation.evaluate.evaluate", failing)
    assert main(["evaluate", str(MODEL), "train.xyz"]) == 2
    assert capsys.readouterr().err == "sikff: shapes do not match; --traceback shows where\n"


def test_errors_that_no_input_explains_are_raised(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise KeyError("energy")

    monkeypatch.setattr("sikff.training.evaluation.evaluate.evaluate", failing)
    with pytest.raises(KeyError, match="energy"):
        main(["evaluate", str(MODEL), "train.xyz"])


def test_info_describes_groups_and_environments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = MODEL.parent
    assert main(["info", str(folder / "C_inf_v.sikff")]) == 0
    shown = capsys.readouterr().out
    assert "C_inf_v about [0.0, 0.0, 1.0], O(3) without an environment" in shown
    assert "a uniform electric field" in shown
    assert main(["info", str(folder / "C6v.sikff")]) == 0
    assert "a plane through [0.0, 0.0, -2.0] Å" in capsys.readouterr().out
    lattice = {"lattice": [[3.0, 0.0], [0.0, 4.0]], "wallpaper": "pg"}
    environment = {"plane_origin": [0.0, 0.0, 1.0], **lattice}
    force_field("Cs", environment=environment).save(tmp_path / "model.sikff")
    assert main(["info", str(tmp_path / "model.sikff")]) == 0
    shown = capsys.readouterr().out
    assert "a plane through [0.0, 0.0, 1.0] Å, pg with |a| = 3 Å, |b| = 4 Å, angle 90°" in shown


def test_ctrl_c_in_training_points_to_resume(
    run_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sikff.training.fitting.fit.fit", interrupted)
    assert main(["train", "config.yaml"]) == 130
    assert "sikff: interrupted; --resume continues" in capsys.readouterr().err


def test_ctrl_c_in_predict_writes_nothing(
    run_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sikff.training.evaluation.predict.predict", interrupted)
    assert main(["predict", str(MODEL), "train.xyz", "--output", "o.xyz"]) == 130
    assert "sikff: interrupted; nothing was written" in capsys.readouterr().err
    assert not Path("o.xyz").exists()


def test_out_of_memory_suggests_smaller_batches(
    run_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("tried to allocate\n7 EiB")

    monkeypatch.setattr("sikff.training.evaluation.evaluate.evaluate", too_large)
    assert main(["evaluate", str(MODEL), "train.xyz"]) == 2
    assert "smaller batches or structures: tried to allocate 7 EiB\n" in capsys.readouterr().err


def test_data_describes_and_checks_labels(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "train.xyz"]) == 0
    shown = capsys.readouterr().out
    assert "12 structures, 2 isolated atoms" in shown
    assert "forces: forces, 12 of 12" in shown
    frames = ase.io.read("train.xyz", ":12")
    some = [atoms.copy() for atoms in frames]
    for atoms, labelled in zip(some[:4], frames, strict=False):
        atoms.info["REF_energy"] = labelled.get_potential_energy()
        atoms.arrays["REF_forces"] = labelled.get_forces()
    for atoms, labelled in zip(some[4:], frames[4:], strict=True):
        atoms.info["REF_energy"] = labelled.get_potential_energy()
    ase.io.write("some.xyz", some)
    assert main(["data", "some.xyz"]) == 0
    assert "forces: REF_forces, 4 of 12; rms" in capsys.readouterr().out
    assert main(["evaluate", str(MODEL), "some.xyz"]) == 2  # knows other elements
    assert "holds Cu" in capsys.readouterr().err
    for atoms in frames:
        atoms.calc.results["energy"] = 3.0
    ase.io.write("constant.xyz", frames)
    assert main(["data", "constant.xyz"]) == 2
    assert "sikff: " in capsys.readouterr().err
    for atoms in frames:
        del atoms.calc.results["energy"]
    ase.io.write("forces.xyz", frames)
    capsys.readouterr()
    assert main(["data", "forces.xyz"]) == 0
    assert "not checked: that takes energies" in capsys.readouterr().out


def test_help_shows_units_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("md --help") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "length of a step, fs (default: 0.5)" in shown


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("--version") == 0
    assert capsys.readouterr().out == f"sikff {sikff.__version__}\n"


def test_the_package_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "sikff.training"]
    run = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    for name in ("train", "evaluate", "predict", "info", "md", "relax"):
        assert f"  {name} " in run.stdout
    assert subprocess.run(command, capture_output=True).returncode == 2


def test_a_closed_pipe_is_no_error() -> None:
    command = [sys.executable, "-m", "sikff.training", "info", str(MODEL)]
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        run = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, text=True)
    assert run.stderr == ""
    assert run.returncode == 141
