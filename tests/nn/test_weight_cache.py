"""Weight-only expressions are cached by frozen models only, without changing results."""

import copy

import pytest
import torch

from force_fields import ethanol, force_field, graph_of
from sikff.field_types import FieldType
from sikff.forcefield import ForceField
from sikff.groups import SymmetryGroup
from sikff.nn import MLP, ImplicitKernel, Linear
from sikff.nn.weight_cache import freeze, thaw
from symmetry_cases import randn

SCALARS = FieldType.scalar(SymmetryGroup("O(3)"), 4)
SETTINGS = {"group": "C_inf_v", "environment": {"field": True}, "vacuum_group": "O(3)"}


def energies(model: ForceField) -> torch.Tensor:
    return model(graph_of(model, ethanol(), field=(0.0, 0.0, 0.3)), forces=False).energies


def test_a_frozen_model_predicts_the_same_and_computes_each_expression_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = force_field(**SETTINGS)
    expected = energies(model)
    calls, matrices = [], Linear._matrices
    monkeypatch.setattr(Linear, "_matrices", lambda self: calls.append(self) or matrices(self))
    frozen = copy.deepcopy(model).freeze()
    assert not any(weight.requires_grad for weight in frozen.parameters())
    for _ in range(3):
        assert torch.equal(energies(frozen), expected)
        assert len(calls) == len(set(calls)) > 4
    calls.clear()
    for _ in range(2):
        energies(model)
    assert len(calls) > len(set(calls)), "only frozen layers have a cache"


@pytest.mark.parametrize("how", ["load", "requires_grad", "dtype"])
def test_new_weights_are_used(how: str) -> None:
    model = force_field(**SETTINGS).freeze()
    before = energies(model)
    if how == "dtype":
        assert torch.equal(energies(model.float()), energies(force_field(**SETTINGS).float()))
        assert not torch.equal(energies(model), before)
        return
    weights = {name: 1.1 * weight for name, weight in model.state_dict().items()}
    if how == "load":
        model.load_state_dict(weights)
    else:
        model.requires_grad_(True)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                weight.copy_(weights[name])
    other = force_field(**SETTINGS)
    other.load_state_dict(weights)
    assert torch.equal(energies(model), energies(other))
    assert (energies(model) - before).abs().max() > 1e-4


def test_each_function_of_a_layer_has_its_own_cache_entry() -> None:
    """In either order; of a layer frozen in inference mode too."""
    kernel = ImplicitKernel(SCALARS, SCALARS, SCALARS, cutoff=4.0).double()
    mlp, after = kernel.trunk.mlp, kernel.trunk.spread
    x, r = randn(5, 3, seed=0), torch.linspace(1, 3, 5, dtype=torch.float64)
    attr, rows = randn(5, 4, seed=1), randn(5, len(mlp.weights[0]), seed=2)
    calls = [
        lambda: kernel.hidden(kernel.basis(x, attr)),
        lambda: kernel.factors(r, attr),
        lambda: mlp(rows, after),
        lambda: mlp(rows),
        lambda: mlp(rows, 2 * after),
    ]
    expected = [call().detach() for call in calls]
    for order in (calls, calls[::-1]):
        freeze(kernel)
        found = [call() for call in order for _ in range(2)]
        wanted = expected if order is calls else expected[::-1]
        for k, value in enumerate(found):
            assert torch.equal(value, wanted[k // 2])
        thaw(kernel)


def test_a_copy_of_a_frozen_layer_reads_its_own_weights() -> None:
    mlp = MLP([3, 4, 2]).double()
    freeze(mlp)
    x = randn(5, 3, seed=0)
    before = mlp(x)
    other = copy.deepcopy(mlp)
    thaw(other)
    other.weights[0].data.mul_(2)
    freeze(other)
    assert torch.equal(mlp(x), before)
    assert not torch.equal(other(x), before)
