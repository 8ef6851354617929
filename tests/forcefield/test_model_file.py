"""Model files: models are stored and loaded unchanged, and damaged files raise."""

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from disk import full_disk, unprivileged
from force_fields import GROUPS, elements_of, ethanol, force_field, moved, predict
from sikff import load
from sikff.forcefield import model_file as files
from tolerances import TOLERANCES


@pytest.mark.parametrize("group", ["O(3)", "C_inf_v", "Oh"])
def test_round_trip(group: str, tmp_path: Path) -> None:
    model = force_field(group, environment={"field": True})
    model.save(tmp_path / "m.sikff", {"trained_on": "nothing"})
    assert os.listdir(tmp_path) == ["m.sikff"]
    again = load(tmp_path / "m.sikff")
    assert again.dtype == torch.float64
    assert again.config == model.config
    assert again.provenance == {"trained_on": "nothing"}
    for a, b in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    field = [0.0, 0.0, 0.2]
    assert torch.equal(
        predict(model, ethanol(), field=field).forces, predict(again, ethanol(), field=field).forces
    )


def test_a_float32_file_loaded_as_float64_is_exactly_equivariant(tmp_path: Path) -> None:
    force_field("O(3)").float().save(tmp_path / "m.sikff")
    assert load(tmp_path / "m.sikff").dtype == torch.float32
    model = load(tmp_path / "m.sikff", dtype="float64")
    reference = predict(model, ethanol())
    for g in elements_of(model.group):
        error = predict(model, moved(ethanol(), g)).energy - reference.energy
        assert abs(float(error)) < TOLERANCES[torch.float64].invariance * 9


def test_loading_leaves_the_random_state_alone(tmp_path: Path) -> None:
    force_field().save(tmp_path / "m.sikff")
    before = torch.random.get_rng_state()
    load(tmp_path / "m.sikff")
    assert torch.equal(before, torch.random.get_rng_state())


def rewritten(path: Path, **changes: object) -> None:
    """The same file with another header."""
    save_file(load_file(path), path, {"sikff": json.dumps(files.read_header(path) | changes)})


def test_files_that_cannot_be_read_raise(tmp_path: Path) -> None:
    path = tmp_path / "m.sikff"
    with pytest.raises(FileNotFoundError, match="no model file"):
        load(path)
    with pytest.raises(FileNotFoundError, match="no model file"):
        load(tmp_path)
    force_field().save(path)
    whole = path.read_bytes()

    rewritten(path, format_version=99)
    with pytest.raises(ValueError, match="format version 99"):
        load(path)
    path.write_bytes(whole)
    rewritten(path, tables={})
    with pytest.raises(ValueError, match="other group-theoretical tables"):
        load(path)
    for damaged in (b"", whole[:100], whole[:-100], b"garbage" * 100):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="not a sikff model file"):
            load(path)
    for metadata in (None, {"other": "program"}, {"sikff": "[" * 100_000}):
        save_file({"a": torch.zeros(1)}, path, metadata)
        with pytest.raises(ValueError, match="not a sikff model file"):
            load(path)
    path.write_bytes(whole)
    with pytest.raises(ValueError, match=r"dtype is .*; expected 'float32' or"):
        load(path, dtype="float16")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "something else"}, "something else"),
        ({"format_version": "1"}, "format version '1'"),
        ({"format_version": 0}, "format version 0"),
        ({"dtype": "float16"}, "dtype: Input should be 'float32' or 'float64'"),
        ({"tables": [1.0]}, "tables: Input should be a valid dictionary"),
        ({"tables": {"a": float("nan")}}, "tables.a: Input should be a finite number"),
        ({"provenance": None}, "provenance: Input should be a valid dictionary"),
        ({"config": 7}, "config: Input should be"),
        ({"channels": 10**12}, "fewer weights than its config asks for"),
        ({"layers": 10**12}, "fewer weights than its config asks for"),
        ({"kernel_width": 10**12}, "fewer weights than its config asks for"),
        ({"channels": -1}, "config.channels: Input should be greater than or equal to 1"),
        ({"group": "Q(8)"}, "config: Value error, unknown symmetry group"),
        ({"species_channels": 5}, r"the tensor .* is torch.float64 \[4, 4\], expected .* \[4, 5\]"),
    ],
)
def test_a_wrong_header_is_one_sentence(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = tmp_path / "m.sikff"
    model = force_field()
    model.save(path)
    if changes.keys() <= type(model.config).model_fields.keys():
        changes = {"config": model.config.model_dump(mode="json") | changes}
    rewritten(path, **changes)
    with pytest.raises(ValueError, match=message) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert "m.sikff" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.double() / 0, "holds NaN or infinity"),
        (lambda weights: weights.float(), r"is torch.float32 \[4, 4\], expected torch.float64"),
        (lambda weights: None, "is missing, expected"),
    ],
)
def test_wrong_weights_raise(tmp_path: Path, change: Any, message: str) -> None:
    path = tmp_path / "m.sikff"
    force_field().save(path)
    header, tensors = files.read_header(path), load_file(path)
    weights = change(tensors.pop("network.embedding"))
    if weights is not None:
        tensors["network.embedding"] = weights
    save_file(tensors, path, {"sikff": json.dumps(header)})
    with pytest.raises(ValueError, match=r"the tensor network.embedding .*" + message):
        load(path)


@pytest.mark.parametrize(
    "options",
    [{"group": group} for group in GROUPS]
    + [{"layers": 1}, {"layers": 4}, {"correlation": 1}, {"channels": 9}]
    + [{"feature_frequency": 0}]
    + [{"kernel_layers": layers, "kernel_width": 30} for layers in (1, 2, 3, 5)]
    + [{"radial_functions": 50}, {"species_channels": 50}, {"readout_width": 90}]
    + [{"kernel_fields": 20}],
)
def test_fewest_weights_is_a_lower_bound(options: dict[str, Any]) -> None:
    model = force_field(**options)
    assert files.fewest_weights(model.config) <= sum(w.numel() for w in model.parameters())


def test_a_full_disk_leaves_the_old_file_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "m.sikff"
    force_field().save(path)
    whole = path.read_bytes()
    with full_disk(), pytest.raises(OSError, match=r"cannot write the file: .*m\.sikff") as caught:
        force_field(seed=1).save(path)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == whole
    assert os.listdir(tmp_path) == ["m.sikff"]
    force_field(seed=1).save(path)
    assert path.read_bytes() != whole


def test_missing_permissions_raise() -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "m.sikff")
        force_field().save(path)
        path.chmod(0)
        Path(folder).chmod(0o555)
        with unprivileged():
            with pytest.raises(PermissionError, match=r"m\.sikff"):
                load(path)
            with pytest.raises(PermissionError, match=r"cannot write the file: .*m\.sikff"):
                force_field().save(path)
        Path(folder).chmod(0o755)


def test_a_file_is_read_whatever_the_default_device(tmp_path: Path) -> None:
    model = force_field()
    model.save(tmp_path / "m.sikff")
    with torch.device("meta"):
        read = load(tmp_path / "m.sikff")
    assert torch.equal(predict(read, ethanol()).forces, predict(model, ethanol()).forces)
