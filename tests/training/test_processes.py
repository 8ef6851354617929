"""Several processes: the same run as one, and none waits for another that has stopped."""

import pytest
import torch

from runs import changed, rows, weights
from sikff.training.config import TrainConfig
from sikff.training.data import read_frames
from sikff.training.fit import fit
from tolerances import TOLERANCES


@pytest.mark.parametrize("dtype", ["float32"])
def test_two_processes_train_like_one(config: TrainConfig, dtype: str) -> None:
    """With crystals of different sizes, a last batch of one structure and one to validate on."""
    loss = {"energy": 1, "forces": 1, "stress": 1}
    data = {"train": config.data.train, "valid": 3}
    config = changed(config, max_epochs=3, dtype=dtype, loss=loss, data=data, threads=1)
    assert len(read_frames(config.data.train).atoms) - 2 - 3 == 9  # batches of 4, 4 and 1
    fit(config)
    both = changed(config, devices=2, output=config.output.with_name("two"))
    fit(both)
    limit = TOLERANCES[getattr(torch, dtype)].gradient
    for one, two in zip(rows(config), rows(both), strict=True):
        for key in one.keys() - {"minutes"}:
            assert two[key] == pytest.approx(one[key], rel=limit), key
    first, second = weights(config.output / "model.sikff"), weights(both.output / "model.sikff")
    for key, value in first.items():
        assert (second[key] - value).abs().max() <= limit * (1 + value.abs().max()), key


def test_early_stop_and_time_limit_end_all_processes(config: TrainConfig) -> None:
    """The loss cannot fall when nothing is learnt: all stop after `patience` more epochs."""
    still = changed(config, lr=1e-30, devices=2, patience=2, max_epochs=50, threads=1)
    fit(still)
    assert [row["epoch"] for row in rows(still)] == [0, 1, 2]
    output = config.output.with_name("timed")
    timed = changed(config, devices=2, max_epochs=None, max_minutes=0.02, output=output, threads=1)
    fit(timed)
    assert rows(timed)[-1]["minutes"] >= 0.02


def test_an_error_in_one_process_ends_all_with_its_sentence(config: TrainConfig) -> None:
    broken = changed(config, devices=2, lr=1e30, clip=1e30, warm_up=0, threads=1)
    with pytest.raises(FloatingPointError, match=r"^training diverged: .* in step \d"):
        fit(broken)
