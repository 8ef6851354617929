"""Checkpoints: whole, or that of before."""

from pathlib import Path

import pytest
import torch

from disk import full_disk
from sikff.training.fitting.checkpoint import NAME, read_checkpoint, write_checkpoint


@pytest.mark.parametrize("size", [0, 20_000, 399_000])
def test_a_full_disk_keeps_the_checkpoint_of_before(tmp_path: Path, size: int) -> None:
    write_checkpoint(tmp_path, {"epoch": 1}, "data")
    large = {"weights": torch.zeros(100_000)}
    with full_disk(size), pytest.raises(OSError, match=f"cannot write the file: .*{NAME}"):
        write_checkpoint(tmp_path, large, "data")
    assert read_checkpoint(tmp_path)["loop"] == {"epoch": 1}
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    write_checkpoint(tmp_path, large, "data")
    assert torch.equal(read_checkpoint(tmp_path)["loop"]["weights"], large["weights"])
