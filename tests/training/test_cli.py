"""The command: a run from data to dynamics, and one sentence for each mistake."""

import json
import subprocess
import sys
from pathlib import Path

import ase.io
import pytest
import yaml

from sikff.training.cli import main
from sikff.training.config import TrainConfig


@pytest.fixture
def run_folder(tmp_path: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    return tmp_path


def test_from_data_to_dynamics(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "config.yaml", "max_epochs=2", "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["train", "config.yaml", "max_epochs=3", "--resume"]) == 0
    assert "wrote " in capsys.readouterr().out
    assert Path("run/learning_curves.png").exists()
    model = "run/model.sikff"
    files = ["--json", "out/metrics.json", "--plots", "out"]
    assert main(["evaluate", model, "train.xyz", "--device", "cpu", *files]) == 0
    printed = capsys.readouterr().out
    metrics = json.loads(Path("out/metrics.json").read_text())
    assert f"{metrics['force_mae_mev_per_a']:.4g}" in printed
    assert metrics["n_frames"] == 12
    assert Path("out/parity.png").exists()
    assert main(["info", model]) == 0
    shown = capsys.readouterr().out
    described = yaml.safe_load(shown.partition("\n")[2])
    assert described["model"]["elements"] == ["Ni", "Cu"]
    assert described["provenance"]["training"]["max_epochs"] == 3
    frames = ase.io.read("train.xyz", index=":12")
    ase.io.write("start.xyz", frames[0])
    md = ["--steps", "4", "--every", "2", "--trajectory", "md.traj", "--quiet"]
    assert main(["md", model, "start.xyz", "--device", "cpu", *md]) == 0
    assert len(ase.io.read("md.traj", index=":")) == 3
    assert Path("md.csv").exists()
    assert Path("md.png").exists()
    assert "drift_mev_per_atom_per_ps" in capsys.readouterr().out
    relax = ["--fmax", "100", "--quiet", "--output", "relaxed.xyz"]
    assert main(["relax", model, "start.xyz", "--device", "cpu", *relax]) == 0
    assert Path("relaxed.xyz").exists()
    assert main(["relax", model, "start.xyz", "--fmax", "1e-9", "--steps", "1", "--quiet"]) == 2
    assert "not below 1e-09 eV/Å after 1 steps" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train absent.yaml", "no configuration file 'absent.yaml'"),
        ("train config.yaml modle.group=O(3)", "unknown key modle; did you mean model?"),
        ("train config.yaml data.train=absent.xyz", "no data file 'absent.xyz'"),
        ("train config.yaml data.forces_key=mine", "no forces (looked for mine)"),
        ("train config.yaml --resume", "nothing to resume"),
        ("evaluate absent.sikff train.xyz", "no model file 'absent.sikff'"),
        ("info config.yaml", "'config.yaml' is not a sikff model file"),
        ("md absent.sikff train.xyz", "no model file 'absent.sikff'"),
        ("md absent.sikff train.xyz --steps 0", "steps: input should be greater than or equal"),
        ("relax absent.sikff absent.xyz", "no structure file 'absent.xyz'"),
    ],
)
def test_a_mistake_is_one_sentence(
    run_folder: Path, capsys: pytest.CaptureFixture[str], arguments: str, message: str
) -> None:
    assert main(arguments.split()) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("sikff: ")
    assert error.count("\n") == 1


def test_help_and_module() -> None:
    command = [sys.executable, "-m", "sikff.training"]
    run = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    for name in ("train", "evaluate", "info", "md", "relax"):
        assert f"  {name} " in run.stdout
    assert subprocess.run(command, capture_output=True).returncode == 2
