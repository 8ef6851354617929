"""The training loop by itself, with a linear map: steps, averages, limits, exact resume."""

import copy
import math
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sikff.training.fitting import loop as module
from sikff.training.fitting.loop import EMA, Limits, Loop
from sikff.training.fitting.schedule import Patience
from symmetry_cases import randn

X = randn(12, 3, seed=0)
Y = X @ randn(3, 1, seed=1)
STEPS = 3


def batches(epoch: int) -> Sequence[Tensor]:
    order = torch.Generator().manual_seed(epoch)
    return torch.randperm(len(X), generator=order).split(len(X) // STEPS)


def linear() -> nn.Linear:
    model = nn.Linear(3, 1).double()
    with torch.no_grad():
        model.weight.fill_(0.1)
        model.bias.zero_()
    return model


def make_loop(limits: Limits, model: nn.Module | None = None, **settings: Any) -> Loop[nn.Module]:
    model = linear() if model is None else model
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    given = {
        "rate": lambda progress: 0.1 * (1 - progress),
        "averaging": lambda step: 0.5,
        "clip": 10.0,
        "advice": "look for wrong labels",
        **settings,
    }
    return Loop(model, torch.optim.Adam(weights, lr=1.0), limits=limits, **given)


def epochs(loop: Loop[nn.Module], scale: float = 1.0) -> Iterator[float]:
    def loss(batch: Tensor) -> Tensor:
        return scale * (loop.model(X[batch]) - Y[batch]).square().mean()

    return loop.epochs(batches, STEPS, loss, lambda batch: [f"row {k}" for k in batch.tolist()])


def test_resume_continues_exactly() -> None:
    limits = Limits(epochs=4)
    whole, halved, resumed = (make_loop(limits) for _ in range(3))
    losses = list(epochs(whole))
    assert len(losses) == 4 and whole.step == 4 * STEPS
    assert losses[-1] < 0.5 * losses[0]
    first = []
    for value in epochs(halved):
        first.append(value)
        halved.patience.update(value)
        if halved.epoch == 1:
            state = copy.deepcopy(halved.state_dict())
            break
    resumed.load_state_dict(state)
    assert (resumed.epoch, resumed.step, resumed.patience) == (2, 2 * STEPS, halved.patience)
    assert first + list(epochs(resumed)) == losses
    for one, other in ((whole.model, resumed.model), (whole.averaged, resumed.averaged)):
        for weight, again in zip(one.parameters(), other.parameters(), strict=True):
            assert torch.equal(weight, again)


def test_each_step_has_the_learning_rate_of_its_progress() -> None:
    asked: list[float] = []
    loop = make_loop(Limits(epochs=2), rate=lambda progress: asked.append(progress) or 0.1)
    list(epochs(loop))
    assert asked == pytest.approx([0, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6])
    assert loop.learning_rate == 0.1


def test_averages_are_those_of_the_trained_weights_and_frozen_ones_stay() -> None:
    model = linear()
    model.bias.requires_grad_(False)
    ema = EMA(model, lambda step: 1 / step)
    seen = []
    for step in range(1, 4):
        with torch.no_grad():
            model.weight.copy_(torch.full_like(model.weight, float(step**2)))
        ema.update(step)
        seen.append(ema.model.weight[0, 0].item())
    assert seen == pytest.approx([1, 5 / 2, 14 / 3])
    loop = make_loop(Limits(epochs=1), model)
    list(epochs(loop))
    assert model.bias.grad is None
    assert not model.bias.any() and not loop.averaged.bias.any()
    assert not loop.averaged.training and not loop.averaged.weight.requires_grad


def test_the_gradient_is_clipped() -> None:
    loop = make_loop(Limits(epochs=1), clip=1e-3)
    loop.optimiser = torch.optim.SGD(loop.model.parameters(), lr=1.0)
    loop.rate = lambda progress: 1.0
    before = [weight.detach().clone() for weight in loop.model.parameters()]
    list(epochs(loop, scale=1e3))
    after = [weight.detach() for weight in loop.model.parameters()]
    pairs = zip(before, after, strict=True)
    moved = math.sqrt(sum(float((old - new).square().sum()) for old, new in pairs))
    assert 0 < moved < STEPS * 1e-3


def test_patience_and_minutes_end_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = make_loop(Limits(epochs=9, patience=2))
    for _ in epochs(loop):
        loop.patience.update(1.0)
    assert loop.epoch == 3
    now = [0.0]

    def monotonic() -> float:
        now[0] += 1.0
        return now[0]

    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=monotonic))
    loop = make_loop(Limits(epochs=9, minutes=4 / 60))
    for _ in epochs(loop):
        pass
    assert loop.step == 4  # in the middle of an epoch
    assert loop.minutes == pytest.approx(4 / 60)


def test_time_spent_before_a_resume_counts_and_that_of_untimed_steps_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    loop = make_loop(Limits(epochs=2), untimed=1)
    loop.load_state_dict({**make_loop(Limits(epochs=2)).state_dict(), "minutes": 3.0})

    def slow(batch: Tensor) -> Tensor:
        now[0] += 60.0
        return loop.model(X[batch]).square().mean()

    list(loop.epochs(batches, STEPS, slow))
    assert loop.minutes == 3.0 + STEPS - 1
    loop.read_clock()
    assert loop.minutes == 3.0 + STEPS - 1


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_values_that_are_not_finite_end_the_training_with_names(what: str) -> None:
    """A square root at zero has a value and no derivative; the weights stay as they were."""
    loop = make_loop(Limits(epochs=1))
    before = [weight.detach().clone() for weight in loop.model.parameters()]

    def broken(batch: Tensor) -> Tensor:
        value = (loop.model(X[batch]) - Y[batch]).square().mean()
        return value * math.nan if what == "loss" else (0 * value).sqrt()

    message = rf"the {what} is nan in step 0 \(epoch 0\), on a{', a' * 7} and 1 more; look for"
    with pytest.raises(FloatingPointError, match=message):
        list(loop.epochs(batches, STEPS, broken, lambda batch: ["a"] * 9))
    for old, new in zip(before, loop.model.parameters(), strict=True):
        assert torch.equal(old, new)


def test_state_is_plain() -> None:
    loop = make_loop(Limits(epochs=1))
    list(epochs(loop))
    loop.patience = Patience(0.25, 4, 0.5)
    state = loop.state_dict()
    assert state["patience"] == {"best": 0.25, "waited": 4, "factor": 0.5}
    other = make_loop(Limits(epochs=1))
    other.load_state_dict(state)
    assert other.patience == loop.patience
