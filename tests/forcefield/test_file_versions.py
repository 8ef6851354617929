"""Model files of other versions: old ones load and say what they said, step by step."""

import json
from pathlib import Path

import ase
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from force_fields import ethanol, force_field, predict
from sikff import load
from sikff.forcefield import model_file as files
from tolerances import TOLERANCES

DATA = Path(__file__).parents[1] / "data"
SAMPLES = json.loads((DATA / "format_1" / "samples.json").read_text())


@pytest.mark.parametrize("name", SAMPLES["models"])
def test_format_1_loads_and_says_what_it_said(name: str, dtype: torch.dtype) -> None:
    atoms = ase.Atoms(SAMPLES["symbols"], SAMPLES["positions"], cell=SAMPLES["cell"], pbc=True)
    path = DATA / "format_1" / f"{name}.sikff"
    assert files.read_header(path)["format_version"] == 1
    assert load(path).dtype == torch.float32
    model = load(path, dtype=dtype)
    field = SAMPLES["field"] if model.config.frame.field else [0.0, 0.0, 0.0]
    prediction = predict(model, atoms, stress=True, field=field)
    limit = TOLERANCES[dtype].parity
    for key, expected in SAMPLES["models"][name].items():
        error = np.abs(getattr(prediction, key).squeeze(0).numpy() - expected).max()
        assert error <= limit * np.abs(expected).max(), key


def old_file(path: Path, version: int) -> None:
    """A file as versions before might have written it: 1 had other names for a key and a tensor."""
    force_field().save(path)
    header, tensors = files.read_header(path), load_file(path)
    header["format_version"] = version
    tensors["network.elements"] = tensors.pop("network.embedding")
    if version == 1:
        header["config"]["copies"] = header["config"].pop("channels")
    save_file(tensors, path, {"sikff": json.dumps(header)})


def renamed_key(header: files.JSON, tensors: files.Tensors) -> tuple[files.JSON, files.Tensors]:
    config = dict(header["config"])
    config["channels"] = config.pop("copies")
    return header | {"config": config}, tensors


def renamed_tensor(header: files.JSON, tensors: files.Tensors) -> tuple[files.JSON, files.Tensors]:
    return header, {k.replace("elements", "embedding"): v for k, v in tensors.items()}


@pytest.mark.parametrize("version", [1, 2])
def test_upgrades_follow_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    old_file(tmp_path / "old.sikff", version)
    with pytest.raises(ValueError, match=r"old\.sikff"):
        load(tmp_path / "old.sikff")
    monkeypatch.setattr(files, "FORMAT_VERSION", 3)
    monkeypatch.setattr(files, "UPGRADES", {1: renamed_key, 2: renamed_tensor})
    old = load(tmp_path / "old.sikff")
    assert torch.equal(predict(old, ethanol()).forces, predict(force_field(), ethanol()).forces)
    old.save(tmp_path / "new.sikff")
    assert files.read_header(tmp_path / "new.sikff")["format_version"] == 3
    monkeypatch.setattr(files, "UPGRADES", {})
    assert load(tmp_path / "new.sikff").config == old.config


def test_a_format_without_a_step_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_file(tmp_path / "old.sikff", 1)
    monkeypatch.setattr(files, "FORMAT_VERSION", 3)
    monkeypatch.setattr(files, "UPGRADES", {1: renamed_key})
    with pytest.raises(ValueError, match=r"old\.sikff' has format version 1, which .* not read"):
        load(tmp_path / "old.sikff")


def test_an_upgrade_meets_a_damaged_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old_file(tmp_path / "old.sikff", 2)
    monkeypatch.setattr(files, "FORMAT_VERSION", 3)
    monkeypatch.setattr(files, "UPGRADES", {2: renamed_key})
    with pytest.raises(ValueError, match=r"old\.sikff' .* damaged \(KeyError\('copies'\)\)"):
        load(tmp_path / "old.sikff")


def test_every_format_since_the_first_can_be_read() -> None:
    assert sorted(files.UPGRADES) == list(range(1, files.FORMAT_VERSION))
    for version in range(1, files.FORMAT_VERSION + 1):
        assert (DATA / f"format_{version}" / "samples.json").is_file()
