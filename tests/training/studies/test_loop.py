"""Training of the models of studies: what it reaches, keeps and leaves unchanged."""

import math

import pytest
import torch
from torch import Tensor, nn

from sikff.training.studies.loop import Recipe, fit
from symmetry_cases import randn
from tolerances import TOLERANCES

X = randn(64, 3, seed=0)
Y = X @ torch.tensor([[1.0], [-2.0], [0.5]]).double()

RECIPE = Recipe(epochs=3, batch_size=16)


def error(model: nn.Module, samples: Tensor) -> Tensor:
    return (model(X[samples]) - Y[samples]).square().mean()


def validate(model: nn.Module) -> float:
    return float(error(model, torch.arange(64)).detach())


def linear() -> nn.Module:
    model = nn.Linear(3, 1).double()
    with torch.no_grad():
        model.weight.fill_(0.1)
        model.bias.zero_()
    return model


def test_fit_learns_and_keeps_the_best_weights() -> None:
    model = linear()
    before = validate(model)
    recipe = Recipe(epochs=40, batch_size=16, learning_rate=0.1, weight_decay=0.0)
    history = fit(model, 64, error, validate, recipe)
    assert len(history.train) == len(history.valid) == 40
    assert validate(model) == pytest.approx(
        min(history.valid), rel=TOLERANCES[torch.float64].parity
    )
    assert history.valid[history.best_epoch] == min(history.valid) < 1e-3 * before


def test_the_seed_determines_the_weights_and_global_state_is_unchanged() -> None:
    models = [linear() for _ in range(3)]
    state = torch.random.get_rng_state()

    def noisy(model: nn.Module, samples: Tensor) -> Tensor:
        return error(model, samples) + 0.1 * torch.randn(()).double() * model.weight.sum()

    runs = [
        fit(model, 64, noisy, validate, RECIPE, seed=seed).valid
        for model, seed in zip(models, (0, 0, 1), strict=True)
    ]
    assert runs[0] == runs[1] != runs[2]
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_frozen_model_is_not_trained() -> None:
    model = linear().requires_grad_(False)
    history = fit(model, 64, error, validate, RECIPE)
    assert history.valid == history.train == [] and history.best_epoch == -1


def test_a_model_that_does_not_improve_keeps_its_weights() -> None:
    model = linear()
    weight = model.weight.detach().clone()
    history = fit(model, 64, error, lambda model: float(model.weight.detach()[0, 0] != 0.1), RECIPE)
    assert history.best_epoch == -1 and len(history.valid) == RECIPE.epochs
    assert torch.equal(model.weight, weight)


def test_patience_ends_the_run() -> None:
    """The third validation is the best; the first is that of the initial weights."""
    losses = iter([3.0, 2.0, 1.0, *[2.0] * 10])
    recipe = Recipe(epochs=10, patience=4)
    history = fit(linear(), 64, error, lambda model: next(losses), recipe)
    assert history.best_epoch == 1 and len(history.valid) == 2 + 4


def test_few_samples_still_make_several_steps() -> None:
    sizes: list[int] = []

    def counted(model: nn.Module, samples: Tensor) -> Tensor:
        sizes.append(len(samples))
        return error(model, samples)

    fit(linear(), 20, counted, validate, Recipe(epochs=1))
    assert sizes == [3] * 6 + [2]


def test_a_loss_that_is_not_finite_ends_the_run() -> None:
    with pytest.raises(
        FloatingPointError, match=r"loss is nan in step 0 \(epoch 0\); take a lower"
    ):
        fit(linear(), 64, lambda m, s: math.nan * error(m, s), validate, RECIPE)


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"epochs": 0}, "epochs must be 1 or more; got 0"), ({"clip": 0.0}, "clip must be finite")],
)
def test_invalid_recipes_raise(settings: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Recipe(**settings)
