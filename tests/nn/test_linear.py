"""Linear: exactly equivariant, and every equivariant map is there (as many weights as dim Hom)."""

import pytest
import torch

from sikff.field_types import FieldType
from sikff.nn import ChannelLinear, Linear, equivariance_error
from symmetry_cases import (
    NAMES,
    class_average,
    group,
    outside,
    randn,
    random_type,
    relative_error,
    seeded,
)
from tolerances import TOLERANCES, Tolerance


@pytest.mark.parametrize("name", NAMES)
def test_it_is_equivariant(name: str, dtype: torch.dtype, tolerance: Tolerance) -> None:
    g = group(name)
    layer = Linear(random_type(g, 0), random_type(g, 1), bias=True).to(dtype)
    seeded(layer)
    error = equivariance_error(layer, layer.in_type, layer.out_type, dtype=dtype, n_elements=4)
    assert error < tolerance.equivariance


@pytest.mark.parametrize("name", NAMES)
def test_it_has_as_many_weights_as_hom_has_dimensions(name: str) -> None:
    """dim Hom_G = mean over G of the product of the characters."""
    g = group(name)
    for seed in range(3):
        in_type, out_type = random_type(g, 2 * seed), random_type(g, 2 * seed + 1)
        expected = class_average(g, [in_type, out_type])
        assert Linear(in_type, out_type).weight.numel() == round(expected)
        assert abs(expected - round(expected)) < TOLERANCES[torch.float64].algebra


@pytest.mark.parametrize("name", NAMES)
def test_its_weights_are_independent(name: str) -> None:
    """The matrices of the unit weights span a space of dimension dim Hom."""
    g = group(name)
    layer = Linear(random_type(g, 0), random_type(g, 1)).double()
    identity = torch.eye(layer.in_type.size, dtype=torch.float64)
    rows = []
    with torch.no_grad():
        for k in range(layer.weight.numel()):
            layer.weight.zero_()[k] = 1.0
            rows.append(layer(identity).flatten())
    assert torch.linalg.matrix_rank(torch.stack(rows)) == layer.weight.numel()


@pytest.mark.parametrize(
    ("name", "larger"), [("SO(2)", "C_inf_v"), ("C_inf_v", "O(3)"), ("C2", "SO(2)"), ("Cs", "O(3)")]
)
def test_it_breaks_larger_groups(name: str, larger: str) -> None:
    g, big = group(name), group(larger)
    vectors = FieldType.vector(g, 2) + FieldType.scalar(g)
    layer = seeded(Linear(vectors, vectors)).double()
    rho = FieldType.vector(big, 2) + FieldType.scalar(big)
    x = randn(8, vectors.size, seed=0)
    with torch.no_grad():
        for h in outside(big, g):
            d = rho.representation(h)
            assert relative_error(layer(x @ d.T), layer(x) @ d.T) > 1e-2


def test_unreachable_outputs_are_zero_and_have_no_weights() -> None:
    g = group("O(3)")
    scalar, pseudo = (FieldType(g, [(2, irrep)]) for irrep in g.irreps(0))
    layer = Linear(scalar, pseudo, bias=True)
    assert layer.weight.numel() == 0
    assert layer.bias is None
    assert torch.equal(layer(torch.ones(3, 2)), torch.zeros(3, 2))


def test_the_bias_shifts_invariants_only() -> None:
    g = group("SO(3)")
    out = FieldType.vector(g) + FieldType.scalar(g, 2)
    layer = Linear(FieldType.scalar(g), out, bias=True)
    with torch.no_grad():
        layer.bias.fill_(2.0)
    y = layer(torch.zeros(1, 1))
    torch.testing.assert_close(y, torch.tensor([[0.0, 0.0, 0.0, 2.0, 2.0]]))


@pytest.mark.parametrize("name", NAMES)
def test_unit_variance_in_gives_unit_variance_out(name: str) -> None:
    g = group(name)
    t = FieldType(g, [(16, irrep) for irrep in g.irreps(2)])
    y = seeded(Linear(t, t), 1)(randn(500, t.size, seed=2, dtype=torch.float32))
    assert 0.7 < y.std() < 1.4


@pytest.mark.parametrize("name", NAMES)
def test_it_equals_its_matrix(name: str) -> None:
    in_type, out_type = random_type(group(name), 0), random_type(group(name), 1)
    layer = seeded(Linear(in_type, out_type, bias=True)).double()
    x = randn(7, in_type.size, seed=0)
    expected = layer(x) - layer(0 * x)
    assert relative_error(x @ layer.matrix(), expected) < TOLERANCES[torch.float64].parity


@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_channel_linear_equals_linear(name: str, copies: int) -> None:
    """[D, C, N], whether or not the channels of all irreps are equally many, or some come to 0."""
    g, channels = group(name), 3
    irreps = g.irreps(2)
    all_types = FieldType(g, [(channels * (1 + k % copies), i) for k, i in enumerate(irreps)])
    few = FieldType(g, [(channels, irrep) for irrep in irreps[: len(irreps) - 1 or 1]])
    for in_type, out_type in ((all_types, all_types), (all_types, few), (few, all_types)):
        layer = seeded(ChannelLinear(in_type, out_type)).double()
        rows = Linear(in_type.canonical, out_type.canonical).double()
        rows.load_state_dict(layer.state_dict())
        x = randn(7, in_type.size, seed=0)
        for of_nodes in (x.T.unflatten(0, (-1, channels)), x.T.reshape(-1, channels, 7)):
            got = layer(of_nodes).flatten(0, 1).T
            assert relative_error(got, rows(x)) < TOLERANCES[torch.float64].parity


@pytest.mark.parametrize("name", NAMES)
def test_types_without_features(name: str) -> None:
    in_type, out_type = random_type(group(name), 0), random_type(group(name), 1)
    assert Linear(in_type, out_type)(torch.zeros(0, in_type.size)).shape == (0, out_type.size)
    of_nodes = ChannelLinear(in_type, out_type)(torch.zeros(in_type.size, 1, 0))
    assert of_nodes.shape == (out_type.size, 1, 0)


def test_bad_input() -> None:
    a, b = group("SO(3)"), group("O(3)")
    with pytest.raises(ValueError, match=r"in_type is of group SO\(3\), out_type of O\(3\)"):
        Linear(FieldType.scalar(a), FieldType.scalar(b))
    with pytest.raises(ValueError, match=r"expected features \[..., 3\].*got shape \(2, 4\)"):
        Linear(FieldType.vector(a), FieldType.vector(a))(torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"\[D, C, N\].*D C = 3; got shape \(4, 1, 2\)"):
        ChannelLinear(FieldType.vector(a), FieldType.vector(a))(torch.zeros(4, 1, 2))
