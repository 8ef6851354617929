"""Constant buffers are exact in every dtype and belong to no state dict."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch

from sikff.field_types import FieldType
from sikff.nn import Harmonics, ImplicitKernel, Linear, equivariance_error
from sikff.nn.constants import ConstantModule, ToCanonical
from symmetry_cases import NAMES, every_irrep, group, randn, random_type, relative_error, seeded
from tolerances import TOLERANCES

D = torch.float64
EXACT = TOLERANCES[D].equivariance


@pytest.mark.parametrize("name", NAMES)
def test_equivariance_is_exact_after_float32_and_back(name: str) -> None:
    t = random_type(group(name), 0)
    layer = seeded(Linear(t, t))
    there_and_back = layer.double().float().half().double()
    assert equivariance_error(there_and_back, t, t, n_elements=4) < EXACT


def test_constants_are_cast_from_their_float64_originals() -> None:
    layer = ToCanonical(FieldType.vector(group("tilted S4")))
    exact = torch.from_numpy(layer.constants["matrix"])
    assert layer.matrix.dtype == torch.get_default_dtype()
    rounded = layer.matrix.double()
    assert not torch.equal(rounded, exact)
    assert torch.equal(layer.double().matrix, exact)
    assert torch.equal(layer.float().matrix, exact.float())
    assert layer.to(torch.bfloat16).matrix.dtype == torch.bfloat16


def copies(module: torch.nn.Module) -> list[torch.nn.Module]:
    buffer = io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    return [
        copy.deepcopy(module),
        pickle.loads(pickle.dumps(module)),
        torch.load(buffer, weights_only=False),
    ]


@pytest.mark.parametrize("name", ["O(3)", "SO(2)", "tilted S4", "Td"])
def test_copies_and_pickles_keep_the_originals(name: str) -> None:
    t = random_type(group(name), 1)
    kernel = seeded(ImplicitKernel(t, t, hidden_fields=2, width=8))
    x = randn(4, 3, seed=0)
    expected = copy.deepcopy(kernel).double()(x)
    for copied in copies(kernel):
        assert relative_error(copied.double()(x), expected) < TOLERANCES[D].parity
        assert copied.in_type == t
    layer = Linear(t, t)
    for copied in copies(layer):
        assert equivariance_error(copied.double(), t, t, n_elements=4) < EXACT


def test_the_state_dict_holds_weights_only() -> None:
    t = every_irrep(group("C4"))
    kernel = ImplicitKernel(t, t, FieldType.vector(group("C4")), hidden_fields=2, width=8)
    state = kernel.state_dict()
    assert set(state) == {name for name, _ in kernel.named_parameters()}
    assert list(kernel.buffers()), "there are buffers that could have been in it"
    assert not Harmonics(group("O(3)"), 2).state_dict()
    again = ImplicitKernel(t, t, FieldType.vector(group("C4")), hidden_fields=2, width=8)
    again.load_state_dict(state)
    x, a = randn(3, 3, seed=0, dtype=torch.float32), randn(3, 3, seed=1, dtype=torch.float32)
    assert torch.equal(again(x, a), kernel(x, a))


def test_constants_start_in_the_default_dtype_and_may_live_on_meta() -> None:
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(D)
        assert Harmonics(group("SO(3)"), 2).coefficients.dtype == D
    finally:
        torch.set_default_dtype(before)
    layer = Harmonics(group("SO(3)"), 2).to("meta")
    assert layer.coefficients.device.type == "meta"


def test_a_constant_is_a_copy_of_the_array_given() -> None:
    values = np.ones(3)
    module = ConstantModule()
    module.register_constant("ones", values)
    values[:] = 5.0
    assert torch.equal(module.double().ones, torch.ones(3, dtype=D))
