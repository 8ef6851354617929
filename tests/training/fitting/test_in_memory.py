"""Training with structures in memory, in steps, and from earlier trainings."""

from pathlib import Path
from typing import Any

import ase
import numpy as np
import pytest
import torch

from runs import changed, rows, weights
from sikff import load
from sikff.forcefield import ForceField
from sikff.training.config import TrainConfig
from sikff.training.data.reading import read_structures
from sikff.training.evaluation.predict import predict
from sikff.training.fitting.fit import fit
from sikff.training.fitting.fit_committee import fit_committee
from sikff.training.fitting.in_memory import train_in_memory
from tolerances import TOLERANCES

LIMITS = TOLERANCES[torch.float64]


def forces_of(model: ForceField, frames: list[ase.Atoms]) -> np.ndarray:
    """Of the network alone: where training data end is another matter."""
    model.distances = None
    return np.concatenate([atoms.get_forces() for atoms in predict(model, frames)])


def assert_same_weights(one: Path, other: Path) -> None:
    pair = weights(one), weights(other)
    assert pair[0].keys() == pair[1].keys()
    assert all(torch.equal(weight, pair[1][name]) for name, weight in pair[0].items())


def test_structures_in_memory_give_the_run_of_their_file(config: TrainConfig) -> None:
    """Also isolated atoms among them."""
    config = changed(config, max_epochs=1, plots=False)
    other = changed(config, output=config.output.with_name("other"), data={"valid": 3})
    one, two = fit(config), fit(other, structures=read_structures(config.data.train).atoms)
    assert_same_weights(one, two)
    with pytest.raises(ValueError, match=r"data\.train is missing"):
        fit(changed(other, output=config.output.with_name("none")))


def test_a_run_of_steps_validates_between_epochs_and_resumes_exactly(config: TrainConfig) -> None:
    """Nine structures in batches of four: epochs of three steps, validated every two."""
    steps = {"max_epochs": None, "validate_every": 2, "schedule": "plateau", "warm_up": 0.0}
    whole = changed(config, **steps, max_steps=5, plots=False)
    path = fit(whole)
    assert [row["step"] for row in rows(whole)] == [2, 4, 5]
    assert not (whole.output / "parity.png").exists()
    part = changed(whole, output=config.output.with_name("part"), max_steps=4)
    fit(part)
    resumed = fit(changed(part, max_steps=5), resume=True)
    assert_same_weights(path, resumed)


def test_epochs_are_passes_also_when_validation_is_more_frequent(config: TrainConfig) -> None:
    config = changed(config, max_epochs=2, validate_every=4, plots=False, checkpoints=False)
    fit(config)
    assert [row["step"] for row in rows(config)] == [4, 6]
    assert not (config.output / "last.ckpt").exists()


def test_without_validation_the_last_weights_are_saved(config: TrainConfig) -> None:
    files = {"train": config.data.train, "valid": 0}
    path = fit(changed(config, data=files, max_epochs=2, ema=0.0))
    assert (path.parent / "learning_curves.png").exists()
    assert not (path.parent / "parity.png").exists()
    state = torch.load(path.parent / "last.ckpt", weights_only=True)["loop"]["averaged"]
    saved = load(path).state_dict()
    assert state and all(torch.equal(saved[name], state[name]) for name in state)


def test_a_warm_start_keeps_sizes_that_had_other_defaults(
    config: TrainConfig, frames: list[ase.Atoms]
) -> None:
    once = changed(config, max_epochs=1)
    before = train_in_memory(
        changed(once, model={**config.model, "radial_functions": 3}), frames[:6], frames[6:]
    )
    after = train_in_memory(once, frames[:6], frames[6:], before)
    assert after.model.config.radial_functions == 3


def test_a_warm_start_renews_scales_and_keeps_predictions(
    config: TrainConfig, frames: list[ase.Atoms]
) -> None:
    """First trained on crystals with small forces, then on others, in denser ones, with large."""
    settings: dict[str, Any] = {"max_epochs": None, "data": {"valid": 0, "check_units": False}}
    model = {**config.model, "distances_seen": None}  # the data do not end between the halves
    config = changed(config, model=model, max_steps=4, **settings)
    before = train_in_memory(config, frames[:4])
    assert not config.output.exists()
    still = changed(config, max_steps=1, lr=1e-14, weight_decay=0.0)
    after = train_in_memory(still, frames[4:], before=before)
    scales = [each.model.config.energy_scale for each in (before, after)]
    neighbours = [each.model.config.average_neighbours for each in (before, after)]
    assert scales[0] != pytest.approx(scales[1]) and neighbours[0] != pytest.approx(neighbours[1])
    wanted, found = forces_of(before.model, frames), forces_of(after.model, frames)
    assert abs(wanted).max() > 1e-3
    assert found == pytest.approx(wanted, abs=100 * LIMITS.invariance)
    cold = train_in_memory(still, frames[4:])
    assert abs(forces_of(cold.model, frames) - wanted).max() > 1e-3


def test_a_warm_start_continues_with_the_state_of_the_optimiser(
    config: TrainConfig, frames: list[ase.Atoms]
) -> None:
    config = changed(config, max_epochs=None, max_steps=4, data={"valid": 0})
    before = train_in_memory(config, frames)
    kept = {name: state["M"].clone() for name, state in before.optimiser.items()}
    after = train_in_memory(changed(config, max_steps=1), frames, before=before)
    assert {state["step"] for state in after.optimiser.values()} == {5}
    assert all(torch.equal(before.optimiser[name]["M"], kept[name]) for name in kept)
    other = changed(config, model={**config.model, "channels": 3})
    with pytest.raises(ValueError, match="the network has other weights"):
        train_in_memory(other, frames, before=before)


def test_fine_tuning_may_rescale_and_continue_the_optimiser(
    config: TrainConfig, frames: list[ase.Atoms]
) -> None:
    config = changed(config, max_epochs=1, plots=False)
    first = fit(config)
    start = {"model": first, "rescale": True, "optimiser": True}
    second = changed(
        config, output=config.output.with_name("second"), model={}, start=start, lr=1e-14, ema=0.0
    )
    model = load(fit(changed(second, weight_decay=0.0, data={"valid": 3}), structures=frames[:7]))
    old = load(first)
    assert model.config.energy_scale != pytest.approx(old.config.energy_scale)
    assert forces_of(model, frames) == pytest.approx(
        forces_of(old, frames), abs=100 * LIMITS.invariance
    )
    state = torch.load(second.output / "last.ckpt", weights_only=True)["loop"]["optimiser"]["state"]
    assert {each["step"] for each in state.values()} == {4}  # three of the first run, one of this
    other = changed(second, output=config.output.with_name("third"), optimiser="adamw")
    with pytest.raises(ValueError, match="state of another optimiser"):
        fit(changed(other, data={"valid": 3}), structures=frames[:7])
    (first.parent / "last.ckpt").unlink()
    with pytest.raises(FileNotFoundError, match=r"start\.optimiser is true, but there is no"):
        fit(changed(second, output=config.output.with_name("fourth")))


def test_members_of_a_committee_differ_in_weights_and_split(config: TrainConfig) -> None:
    config = changed(config, max_epochs=1, plots=False)
    paths = fit_committee(config, 2)
    assert [path.parent.name for path in paths] == ["member0", "member1"]
    one, two = map(weights, paths)
    assert not any(torch.equal(one[name], two[name]) for name in one if one[name].numel() > 1)
    single = fit(changed(config, seed=1, output=config.output.with_name("single")))
    assert_same_weights(single, paths[1])
    before = [path.read_bytes() for path in paths]
    assert fit_committee(config, 2, resume=True) == paths
    assert [path.read_bytes() for path in paths] == before
    with pytest.raises(ValueError, match="members is 1"):
        fit_committee(config, 1)
