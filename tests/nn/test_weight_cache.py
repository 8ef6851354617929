"""What depends on weights alone is kept by frozen models only, and says the same."""

import copy

import pytest
import torch

from force_fields import ethanol, force_field, graph_of
from sikff.forcefield import ForceField
from sikff.nn import Linear

SETTINGS = {"group": "C_inf_v", "environment": {"field": True}, "vacuum_group": "O(3)"}


def energies(model: ForceField) -> torch.Tensor:
    return model(graph_of(model, ethanol(), field=(0.0, 0.0, 0.3)), forces=False).energies


def test_a_frozen_model_says_the_same_and_computes_nothing_of_its_weights_again(
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
    assert len(calls) > len(set(calls)), "only what is frozen keeps anything"


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
