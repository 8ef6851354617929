"""SOAP against closed forms, against Adam, and under turned bases."""

import pytest
import torch
from torch import Tensor, nn

from sikff.forcefield import ForceField, ForceFieldConfig
from sikff.training.fitting.soap import SOAP, pieces
from tolerances import TOLERANCES

LIMITS = TOLERANCES[torch.float64]


class Weights(nn.Module):
    """One parameter."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = nn.Parameter(value.clone())


def trained(start: Tensor, gradients: list[Tensor], **settings: float) -> Tensor:
    """The parameter after a step with each gradient."""
    model = Weights(start)
    optimiser = SOAP(model, lr=0.1, **settings)
    for gradient in gradients:
        model.value.grad = gradient.clone()
        optimiser.step()
    return model.value.detach()


def draw(generator: torch.Generator, count: int, *shape: int) -> list[Tensor]:
    return [torch.randn(*shape, generator=generator, dtype=torch.float64) for _ in range(count)]


def rotation(generator: torch.Generator, size: int) -> Tensor:
    return torch.linalg.qr(draw(generator, 1, size, size)[0]).Q


def test_the_first_step_is_the_polar_factor(generator: torch.Generator) -> None:
    """In its own bases the gradient is diagonal, and Adam's first step is its sign."""
    start, gradient = draw(generator, 2, 5, 5)
    u, _, v = torch.linalg.svd(gradient)
    found = trained(start, [gradient], every=1)
    torch.testing.assert_close(found, start - 0.1 * u @ v, atol=1e-6, rtol=0)


def test_vectors_are_updated_by_adam(generator: torch.Generator) -> None:
    start, *gradients = draw(generator, 25, 6)
    vector = nn.Parameter(start.clone())
    adam = torch.optim.Adam([vector], lr=0.1, betas=(0.95, 0.95))
    for gradient in gradients:
        vector.grad = gradient.clone()
        adam.step()
    found = trained(start, gradients, weight_decay=0.5)
    torch.testing.assert_close(found, vector.detach(), atol=LIMITS.rounding, rtol=0)


def test_steps_are_equivariant_under_rotations_of_weights(generator: torch.Generator) -> None:
    """Rotated gradients make the rotated steps; those of Adam depend on the bases."""
    start, *gradients = draw(generator, 40, 5, 5)
    p, q = rotation(generator, 5), rotation(generator, 5)
    straight = trained(start, gradients, every=1)
    turned = trained(p @ start @ q, [p @ g @ q for g in gradients], every=1)
    assert (straight - start).abs().max() > 0.1
    torch.testing.assert_close(turned, p @ straight @ q, atol=1e-5, rtol=0)
    flat = trained(start.flatten(), [g.flatten() for g in gradients]).view(5, 5)
    other = trained((p @ start @ q).flatten(), [(p @ g @ q).flatten() for g in gradients])
    assert (other.view(5, 5) - p @ flat @ q).abs().max() > 0.05


def test_the_first_steps_are_those_of_adam(generator: torch.Generator) -> None:
    """A few gradients do not make bases."""
    start, *gradients = draw(generator, 10, 4, 7)
    flat = trained(start.flatten(), [g.flatten() for g in gradients[:8]])
    assert torch.equal(trained(start, gradients[:8]), flat.view(4, 7))
    longer = trained(start.flatten(), [g.flatten() for g in [*gradients, *gradients]])
    assert (trained(start, [*gradients, *gradients]) - longer.view(4, 7)).abs().max() > 0.01


def test_matrices_decay(generator: torch.Generator) -> None:
    start = draw(generator, 1, 3, 4)[0]
    still = [torch.zeros_like(start)]
    torch.testing.assert_close(trained(start, still, weight_decay=0.5), 0.95 * start)


@pytest.mark.parametrize("group", ["O(3)", "SO(2)", "C4v"])
def test_every_weight_is_in_one_piece(group: str) -> None:
    model = ForceField(ForceFieldConfig(elements=("H", "C"), group=group, channels=4))
    seen = {parameter: torch.zeros_like(parameter) for parameter in model.parameters()}
    for piece in pieces(model):
        piece.of(seen[piece.parameter]).add_(1)
    assert all((count == 1).all() for count in seen.values())
    of_layers = {piece.shape for piece in pieces(model) if piece.parameter.ndim == 1}
    assert any(min(shape[1:]) > 1 for shape in of_layers)


def test_frozen_weights_stay() -> None:
    model = ForceField(ForceFieldConfig(elements=("H",), channels=2))
    model.network.start.requires_grad_(False)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimiser = SOAP(model, lr=0.1)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    for name, parameter in model.named_parameters():
        moved = not torch.equal(parameter, before[name])
        assert moved == (not name.startswith("network.start."))


def test_the_closure_sees_gradients(generator: torch.Generator) -> None:
    model = Weights(draw(generator, 1, 3, 3)[0])
    optimiser = SOAP(model, lr=0.1)

    def closure() -> float:
        optimiser.zero_grad()
        value = model.value.square().sum()
        value.backward()
        return value.item()

    losses = [optimiser.step(closure) for _ in range(30)]
    assert losses[-1] is not None and losses[0] is not None
    assert losses[-1] < 0.5 * losses[0]
