"""Model files of older formats load, by one upgrade after the other, with the same predictions."""

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
VERSIONS = range(1, files.FORMAT_VERSION + 1)
SAMPLES = {v: json.loads((DATA / f"format_{v}" / "samples.json").read_text()) for v in VERSIONS}
NOW = files.FORMAT_VERSION


@pytest.mark.parametrize(
    ("version", "name"), [(v, n) for v in VERSIONS for n in SAMPLES[v]["models"]]
)
def test_every_format_loads_with_the_same_predictions(
    version: int, name: str, dtype: torch.dtype
) -> None:
    samples = SAMPLES[version]
    atoms = ase.Atoms(samples["symbols"], samples["positions"], cell=samples["cell"], pbc=True)
    path = DATA / f"format_{version}" / f"{name}.sikff"
    assert files.read_header(path)["format_version"] == version
    assert load(path).dtype == torch.float32
    model = load(path, dtype=dtype)
    field = samples["field"] if model.config.environment.field else [0.0, 0.0, 0.0]
    ion = samples["ion"] if model.config.environment.charge else {}
    prediction = predict(model, atoms, stress=True, field=field, **ion)
    limit = TOLERANCES[dtype].parity
    for key, expected in samples["models"][name].items():
        error = np.abs(getattr(prediction, key).squeeze(0).numpy() - expected).max()
        assert error <= limit * np.abs(expected).max(), key


def test_limits_of_the_environment_keep_their_values_under_their_new_names(tmp_path: Path) -> None:
    limits = {"field_min": -0.5, "field_max": 0.4}
    force_field("C_inf_v", environment={"field": True, **limits}).save(tmp_path / "now.sikff")
    header = files.read_header(tmp_path / "now.sikff")
    environment = header["config"]["environment"]
    environment["field_least"] = environment.pop("field_min")
    environment["field_limit"] = environment.pop("field_max")
    environment["height_limit"] = environment.pop("height_min")
    new = ("charge", "spin", "charge_min", "charge_max", "spin_min", "spin_max")
    for name in (*new, "lattice", "wallpaper", "stars", "kernels_read_field"):
        del environment[name]
    header["format_version"] = 2
    tensors = load_file(tmp_path / "now.sikff")
    save_file(tensors, tmp_path / "old.sikff", {"sikff": json.dumps(header)})
    old, now = (load(tmp_path / f"{name}.sikff").config for name in ("old", "now"))
    assert old.environment.kernels_read_field  # as all models did that read a field
    environment = old.environment.model_copy(update={"kernels_read_field": False})
    assert old.model_copy(update={"environment": environment}) == now


def test_a_covariant_field_stays_an_attribute_of_edges_in_old_models(tmp_path: Path) -> None:
    environment = {"field": True, "kernels_read_field": True}
    model = force_field(environment=environment)
    model.save(tmp_path / "now.sikff")
    header = files.read_header(tmp_path / "now.sikff")
    for name in ("lattice", "wallpaper", "stars", "kernels_read_field"):
        del header["config"]["environment"][name]
    header["format_version"] = 2
    tensors = load_file(tmp_path / "now.sikff")
    save_file(tensors, tmp_path / "old.sikff", {"sikff": json.dumps(header)})
    given = {"field": (0.1, -0.2, 0.3)}
    old, now = (predict(m, ethanol(), **given) for m in (load(tmp_path / "old.sikff"), model))
    assert torch.equal(old.forces, now.forces)


def old_file(path: Path, version: int) -> None:
    """A file as versions before might have written it: NOW had other names than NOW + 2."""
    force_field().save(path)
    header, tensors = files.read_header(path), load_file(path)
    header["format_version"] = version
    tensors["network.elements"] = tensors.pop("network.embedding")
    if version == NOW:
        header["config"]["copies"] = header["config"].pop("channels")
    save_file(tensors, path, {"sikff": json.dumps(header)})


def renamed_key(header: files.JSON, tensors: files.Tensors) -> tuple[files.JSON, files.Tensors]:
    config = dict(header["config"])
    config["channels"] = config.pop("copies")
    return header | {"config": config}, tensors


def renamed_tensor(header: files.JSON, tensors: files.Tensors) -> tuple[files.JSON, files.Tensors]:
    return header, {k.replace("elements", "embedding"): v for k, v in tensors.items()}


@pytest.mark.parametrize("version", [NOW, NOW + 1])
def test_upgrades_are_applied_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    old_file(tmp_path / "old.sikff", version)
    with pytest.raises(ValueError, match=r"old\.sikff"):
        load(tmp_path / "old.sikff")
    monkeypatch.setattr(files, "FORMAT_VERSION", NOW + 2)
    monkeypatch.setattr(files, "UPGRADES", {NOW: renamed_key, NOW + 1: renamed_tensor})
    old = load(tmp_path / "old.sikff")
    assert torch.equal(predict(old, ethanol()).forces, predict(force_field(), ethanol()).forces)
    old.save(tmp_path / "new.sikff")
    assert files.read_header(tmp_path / "new.sikff")["format_version"] == NOW + 2
    monkeypatch.setattr(files, "UPGRADES", {})
    assert load(tmp_path / "new.sikff").config == old.config


def test_a_format_without_an_upgrade_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_file(tmp_path / "old.sikff", NOW)
    monkeypatch.setattr(files, "FORMAT_VERSION", NOW + 2)
    monkeypatch.setattr(files, "UPGRADES", {NOW: renamed_key})
    with pytest.raises(
        ValueError, match=rf"old\.sikff' has format version {NOW}, which .* not read"
    ):
        load(tmp_path / "old.sikff")


def test_an_upgrade_of_a_damaged_header_raises_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_file(tmp_path / "old.sikff", NOW + 1)
    monkeypatch.setattr(files, "FORMAT_VERSION", NOW + 2)
    monkeypatch.setattr(files, "UPGRADES", {NOW + 1: renamed_key})
    with pytest.raises(ValueError, match=r"old\.sikff' .* damaged \(KeyError\('copies'\)\)"):
        load(tmp_path / "old.sikff")


def test_every_format_since_the_first_can_be_read() -> None:
    assert sorted(files.UPGRADES) == list(range(1, files.FORMAT_VERSION))
    for version in range(1, files.FORMAT_VERSION + 1):
        assert (DATA / f"format_{version}" / "samples.json").is_file()
