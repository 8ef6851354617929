"""Model files: what goes in comes out, and nothing else gets in."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from force_fields import ethanol, force_field, predict
from sikff import load
from sikff.forcefield import files
from tolerances import TOLERANCES


@pytest.mark.parametrize("group", ["O(3)", "C_inf_v", "Oh"])
def test_round_trip(group: str, tmp_path: Path) -> None:
    model = force_field(group, frame={"field": True})
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


def test_float64_from_a_float32_file_is_exact_in_its_symmetry(tmp_path: Path) -> None:
    from force_fields import elements_of, moved

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
    header = files.read_header(path) | changes
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    save_file(tensors, path, metadata={"sikff": json.dumps(header)})


def test_refusals(tmp_path: Path) -> None:
    path = tmp_path / "m.sikff"
    with pytest.raises(FileNotFoundError, match="no model file"):
        load(path)
    force_field().save(path)
    whole = path.read_bytes()

    rewritten(path, format_version=99)
    with pytest.raises(ValueError, match="format version 99"):
        load(path)
    path.write_bytes(whole)
    rewritten(path, tables={})
    with pytest.raises(ValueError, match="other group-theoretical tables"):
        load(path)
    path.write_bytes(whole)
    rewritten(path, format="something else")
    with pytest.raises(ValueError, match="not a sikff model file"):
        load(path)
    for damaged in (b"", whole[:100], whole[:-100], b"garbage" * 100):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="not a sikff model file"):
            load(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="not a sikff model file"):
        load(path)
    path.write_bytes(whole)
    with pytest.raises(ValueError, match="dtype must be"):
        load(path, dtype="float16")
    rewritten(path, config=files.read_header(path)["config"] | {"channels": 5})
    with pytest.raises(ValueError, match=r"tables|do not fit"):
        load(path)


def test_a_failed_save_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.sikff"
    force_field().save(path)
    whole = path.read_bytes()

    def no_space(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(files, "save_file", no_space)
    with pytest.raises(OSError, match="no space"):
        force_field(seed=1).save(path)
    assert path.read_bytes() == whole
    assert os.listdir(tmp_path) == ["m.sikff"]
