"""The implicit kernel: the constraint (3), all it may contain and nothing more, its options."""

import numpy as np
import pytest
import torch
from torch import Tensor

from sikff.field_types import FieldType
from sikff.groups import SymmetryGroup
from sikff.nn import ImplicitKernel
from symmetry_cases import (
    NAMES,
    TILTED,
    elements,
    every_irrep,
    group,
    outside,
    randn,
    random_type,
    relative_error,
    seeded,
    turn_about,
)
from tolerances import TOLERANCES, Tolerance

SMALL = {"hidden_fields": 2, "width": 8}
D = torch.float64


def attributes(g: SymmetryGroup) -> FieldType:
    return FieldType.scalar(g) + FieldType.vector(g) + FieldType.scalar(g)


def constraint_error(kernel: ImplicitKernel, dtype: torch.dtype, scale: float = 1.0) -> float:
    """Largest relative violation of k(g x, rho_a(g) a) = rho_out(g) k(x, a) rho_in(g)^-1."""
    g, attr_type = kernel.in_type.group, kernel.attr_type
    x = scale * randn(6, 3, seed=1)
    a = None if attr_type is None else randn(6, attr_type.size, seed=2)
    worst = 0.0
    with torch.no_grad():
        reference = kernel(x.to(dtype), None if a is None else a.to(dtype))
        for h in elements(g):
            moved = None if a is None else (a @ attr_type.representation(h).T).to(dtype)
            got = kernel((x @ h.T).to(dtype), moved)
            rho_out = kernel.out_type.representation(h).to(dtype)
            rho_in = kernel.in_type.representation(h).to(dtype)
            worst = max(worst, relative_error(got, rho_out @ reference @ rho_in.T))
    return worst


@pytest.mark.parametrize("name", NAMES)
def test_it_satisfies_the_kernel_constraint(
    name: str, dtype: torch.dtype, tolerance: Tolerance
) -> None:
    g = group(name)
    kernel = ImplicitKernel(random_type(g, 0), random_type(g, 1), attributes(g), **SMALL)
    assert constraint_error(seeded(kernel).to(dtype), dtype) < tolerance.equivariance


@pytest.mark.parametrize("name", ["O(3)", "SO(2)", "D_inf_h", "C4", "Td", TILTED])
@pytest.mark.parametrize(
    "options",
    [
        {"layers": 1},
        {"layers": 3},
        {"cutoff": 3.0},
        {"sigma": 0.7, "max_degree": 1},
        {"nonlinearity": "gated", "activation": "gelu"},
        {"scale": 0.3, "n_radial": 3},
    ],
    ids=lambda options: "-".join(options),
)
def test_it_satisfies_the_constraint_with_every_option(name: str, options: dict) -> None:
    g = group(name)
    kernel = ImplicitKernel(random_type(g, 2), random_type(g, 3), attributes(g), **SMALL, **options)
    error = constraint_error(seeded(kernel).double(), D)
    assert error < TOLERANCES[D].equivariance


@pytest.mark.parametrize("name", NAMES)
def test_it_satisfies_the_constraint_without_attributes_and_channelwise(name: str) -> None:
    g = group(name)
    t = every_irrep(g, 1, n=2)
    kernel = ImplicitKernel(t, t, channelwise=True, width=8)
    assert constraint_error(seeded(kernel).double(), D) < TOLERANCES[D].equivariance
    kernel = ImplicitKernel(random_type(g, 4), random_type(g, 5), **SMALL)
    assert constraint_error(seeded(kernel).double(), D) < TOLERANCES[D].equivariance


# -- all that the group allows ------------------------------------------------------------------


def stabiliser(g: SymmetryGroup, x: np.ndarray, a: np.ndarray | None) -> np.ndarray:
    """Elements of G that fix x (and the vector a), both in general position.

    The circle about x, for SO(3) and O(3) without a, is sampled finely enough for frequency 2 + 2.
    """
    fixed = [np.eye(3)]
    if g.lie_dimension == 0:
        vectors = [x] if a is None else [x, a]
        return np.array([h for h in g.elements if all(np.allclose(h @ v, v) for v in vectors)])
    if g.lie_dimension == 3 and a is None:
        fixed = [turn_about(x, 2 * np.pi * k / 8) for k in range(8)]
    normal = None  # of a mirror that leaves x (and a) where they are
    if g.name == "O(3)":
        normal = np.cross(x, [0.3, 0.2, 0.9] if a is None else a)
    elif g.name in ("C_inf_v", "D_inf_h") and a is None:
        normal = np.cross(x, g.axis)
    if normal is not None:
        mirror = np.eye(3) - 2 * np.outer(normal, normal) / (normal @ normal)
        fixed += [mirror @ h for h in fixed]
    return np.array(fixed)


@pytest.mark.parametrize("with_attributes", [False, True], ids=["x", "x and a"])
@pytest.mark.parametrize("name", NAMES)
def test_it_reaches_every_kernel_that_the_group_allows(name: str, with_attributes: bool) -> None:
    """At one generic point the kernels fill Hom_S(rho_in, rho_out), S the stabiliser of (x, a).

    Blocks where Hom_S is zero must vanish, all others must not.
    """
    g = group(name)
    t = every_irrep(g)
    attr_type = attributes(g) if with_attributes else None
    kernel = ImplicitKernel(t, t, attr_type, **SMALL).double()
    x = randn(1, 3, seed=1)
    a = None if attr_type is None else randn(1, attr_type.size, seed=2)
    s = stabiliser(g, x[0].numpy(), None if a is None else a[0, 1:4].numpy())
    with torch.no_grad():
        values = torch.cat([seeded(kernel, seed)(x, a) for seed in range(28)])
    largest = values.abs().max()
    reachable = 0
    for b_in in t.blocks:
        for b_out in t.blocks:
            characters = [
                np.trace(b.irrep.representation(s), axis1=1, axis2=2) for b in (b_in, b_out)
            ]
            allowed = round(float(np.mean(characters[0] * characters[1])))
            block = values[:, b_out.start : b_out.stop, b_in.start : b_in.stop].flatten(1)
            label = f"{b_in.irrep} -> {b_out.irrep}"
            rank = int(torch.linalg.matrix_rank(block / largest, atol=1e-8))
            assert rank <= allowed, label
            assert (rank > 0) == (allowed > 0), label
            if g.lie_dimension == 0 or (g.lie_dimension == 1 and with_attributes):
                assert rank == allowed, label
            reachable += allowed > 0
    assert reachable > 0


def test_a_pseudo_scalar_needs_more_than_a_mirror_plane() -> None:
    """O(3): x and one vector span a mirror plane, so 0e -> 0o is forbidden; SO(3) has no parity."""
    g = group("O(3)")
    scalar, pseudo = (FieldType(g, [(1, irrep)]) for irrep in g.irreps(0))
    kernel = seeded(ImplicitKernel(scalar + pseudo, scalar + pseudo, attributes(g), **SMALL))
    k = kernel(randn(9, 3, seed=0, dtype=torch.float32), randn(9, 5, seed=1, dtype=torch.float32))
    assert k[:, [0, 1], [0, 1]].abs().max() > 0.01
    assert torch.equal(k[:, [0, 1], [1, 0]], torch.zeros(9, 2))


BROKEN = [
    ("SO(3)", "O(3)"),
    ("SO(2)", "C_inf_v"),
    ("SO(2)", "C_inf_h"),
    ("SO(2)", "D_inf"),
    ("C_inf_v", "D_inf_h"),
    ("C_inf_h", "D_inf_h"),
    ("D_inf", "D_inf_h"),
    ("D_inf_h", "O(3)"),
    ("C1", "Ci"),
    ("Ci", "O(3)"),
    ("Cs", "C2v"),
    ("C4", "SO(2)"),
    ("C6v", "C_inf_v"),
    ("D3", "D3h"),
    ("D3h", "D_inf_h"),
    ("Td", "Oh"),
    ("Oh", "O(3)"),
    ("I", "Ih"),
    ("Ih", "O(3)"),
    ("I", "SO(3)"),
]


@pytest.mark.parametrize(("name", "larger"), BROKEN)
def test_it_breaks_larger_groups(name: str, larger: str) -> None:
    """Scalars and vectors mean the same in both groups: there the constraint must fail."""
    g, big = group(name), group(larger)
    t, big_t = (FieldType.vector(h, 2) + FieldType.scalar(h) for h in (g, big))
    attr_type, big_attr = attributes(g), attributes(big)
    kernel = seeded(ImplicitKernel(t, t, attr_type, hidden_fields=4)).double()
    assert constraint_error(kernel, D) < TOLERANCES[D].equivariance
    x, a = randn(6, 3, seed=1), randn(6, attr_type.size, seed=2)
    with torch.no_grad():
        k = kernel(x, a)
        for h in outside(big, g):
            rho = big_t.representation(h)
            moved = kernel(x @ h.T, a @ big_attr.representation(h).T)
            assert relative_error(moved, rho @ k @ rho.T) > 1e-3


# -- options ------------------------------------------------------------------------------------


def kernel_on_a_line(kernel: ImplicitKernel, r: Tensor) -> Tensor:
    direction = torch.tensor([0.6, -0.48, 0.64], dtype=D)
    return kernel(r.reshape(-1, 1) * direction)


def small_kernel(name: str = "SO(2)", **options: object) -> ImplicitKernel:
    g = group(name)
    t = FieldType.vector(g) + FieldType.scalar(g, 2)
    return seeded(ImplicitKernel(t, t, **{**SMALL, **options})).double()


@pytest.mark.parametrize("name", ["SO(2)", "Td"])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_it_vanishes_smoothly_at_the_cutoff(name: str, layers: int) -> None:
    kernel = small_kernel(name, cutoff=2.0, layers=layers)
    beyond = kernel_on_a_line(kernel, torch.tensor([2.0 + 1e-12, 2.1, 5.0], dtype=D))
    assert torch.equal(beyond, torch.zeros_like(beyond))
    inside = kernel_on_a_line(kernel, torch.linspace(0.5, 1.5, 5, dtype=D))
    assert inside.abs().amax((1, 2)).min() > 1e-3
    scale = inside.abs().max()
    for distance in (1e-2, 1e-3):  # zero value, gradient and curvature: of order distance^4, ^3, ^2
        r = torch.tensor(2.0 - distance, dtype=D, requires_grad=True)
        value = kernel_on_a_line(kernel, r).abs().sum()
        (gradient,) = torch.autograd.grad(value, r, create_graph=True)
        (curvature,) = torch.autograd.grad(gradient, r)
        assert 0 < value < 1e4 * scale * distance**4
        assert 0 < gradient.abs() < 1e5 * scale * distance**3
        assert 0 < curvature.abs() < 1e6 * scale * distance**2


def test_at_the_cutoff_itself_it_is_zero_to_rounding() -> None:
    kernel = small_kernel(cutoff=2.0)
    at = kernel_on_a_line(kernel, torch.tensor([2.0], dtype=D)).abs().max()
    inside = kernel_on_a_line(kernel, torch.tensor([1.0], dtype=D)).abs().max()
    assert at < TOLERANCES[D].parity * inside


def test_the_gaussian_shell_has_the_given_width_and_learns_it() -> None:
    narrow, wide = small_kernel(sigma=0.5), small_kernel(sigma=2.0)
    r = torch.tensor([3.0], dtype=D)
    ratio = kernel_on_a_line(narrow, r).abs().max() / kernel_on_a_line(narrow, r / 6).abs().max()
    assert ratio < 1e-4
    ratio = kernel_on_a_line(wide, r).abs().max() / kernel_on_a_line(wide, r / 6).abs().max()
    assert ratio > 1e-3
    kernel_on_a_line(wide, r).sum().backward()
    assert abs(wide.envelope.log_sigma.grad) > 0


def test_one_layer_is_the_classical_kernel() -> None:
    """Basis x weights: linear in the radial functions, no nonlinearity of x in between."""
    kernel = small_kernel("O(3)", layers=1, cutoff=3.0)
    assert len(kernel.trunk.stack) == 0
    assert len(kernel.trunk.mlp.weights) == 1
    assert len(small_kernel("O(3)", layers=3).trunk.mlp.weights) == 3


def test_scale_is_a_factor() -> None:
    x = randn(4, 3, seed=0)
    one, two = small_kernel(scale=1.0), small_kernel(scale=0.25)
    assert relative_error(two(x), one(x) / 4) < TOLERANCES[D].parity


@pytest.mark.parametrize("name", ["O(3)", "SO(2)", "Td"])
def test_at_the_origin_it_is_finite_and_commutes_with_g(name: str) -> None:
    kernel = small_kernel(name)
    x = torch.zeros(1, 3, dtype=D, requires_grad=True)
    k = kernel(x)
    assert k.abs().max() > 1e-3
    (gradient,) = torch.autograd.grad(k.sum(), x)
    assert torch.isfinite(gradient).all()
    for h in elements(kernel.in_type.group):
        rho = kernel.in_type.representation(h)
        assert relative_error(rho @ k, k @ rho) < TOLERANCES[D].equivariance


def test_it_depends_on_attributes() -> None:
    g = group("SO(2)")
    kernel = seeded(ImplicitKernel(every_irrep(g), every_irrep(g), attributes(g), **SMALL)).double()
    x, a = randn(4, 3, seed=0), randn(4, 5, seed=1)
    for component in range(5):
        changed = a.clone()
        changed[:, component] += 1.0
        assert relative_error(kernel(x, changed), kernel(x, a)) > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_initial_kernels_are_of_order_one(name: str) -> None:
    g = group(name)
    t = every_irrep(g, 1, n=4)
    x = randn(200, 3, seed=3, dtype=torch.float32)
    x = x / x.norm(dim=1, keepdim=True) * torch.linspace(1.0, 3.0, 200)[:, None]
    a = randn(200, 5, seed=4, dtype=torch.float32)
    f = randn(200, t.size, 1, seed=5, dtype=torch.float32)
    kernel = seeded(ImplicitKernel(t, t, attributes(g), cutoff=5.0))
    assert 0.1 < (kernel(x, a) @ f).std() < 10


def test_bad_input() -> None:
    a, b = group("SO(3)"), group("O(3)")
    with pytest.raises(ValueError, match=r"out_type of O\(3\); use one group"):
        ImplicitKernel(FieldType.scalar(a), FieldType.scalar(b))
    with pytest.raises(ValueError, match=r"attr_type of O\(3\); use one group"):
        ImplicitKernel(FieldType.scalar(a), FieldType.scalar(a), FieldType.scalar(b))
    scalar = FieldType.scalar(a)
    kernel, with_attr = ImplicitKernel(scalar, scalar), ImplicitKernel(scalar, scalar, scalar)
    with pytest.raises(ValueError, match="takes no attributes"):
        kernel(torch.zeros(2, 3), torch.zeros(2, 1))
    with pytest.raises(ValueError, match=r"needs attributes \[E, 1\]"):
        with_attr(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="expected features"):
        with_attr(torch.zeros(2, 3), torch.zeros(2, 2))
    with pytest.raises(ValueError, match="one multiplicity for all irreps"):
        ImplicitKernel(scalar, FieldType.vector(a, 2), channelwise=True)
    for lengths in ({"cutoff": -1.0}, {"cutoff": 0.0}, {"sigma": -1.0}, {"sigma": float("nan")}):
        with pytest.raises(ValueError, match="expected a length above 0"):
            ImplicitKernel(scalar, scalar, **lengths)
    with pytest.raises(ValueError, match="at least 1 layer"):
        ImplicitKernel(scalar, scalar, layers=0)
    with pytest.raises(ValueError, match="'gated' or 'sampled'; got 'fourier'"):
        ImplicitKernel(scalar, scalar, nonlinearity="fourier")
    with pytest.raises(ValueError, match="unknown activation 'relux'"):
        ImplicitKernel(scalar, scalar, activation="relux")


@pytest.mark.parametrize("name", ["Td", "Oh", "D3h", "C6v", "Ih", "C4v"])
def test_one_dimensional_types_reach_each_other(name: str) -> None:
    """A generic x has no symmetry left in a finite group: every block is allowed, and there."""
    group = SymmetryGroup(name)
    one_dimensional = [irrep for irrep in group.irreps(3) if irrep.dim == 1]
    assert len(one_dimensional) > 1
    x = torch.randn(16, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for irrep in one_dimensional:
            target = FieldType(group, [(1, irrep)])
            kernel = ImplicitKernel(FieldType.scalar(group), target, layers=3).double()
            assert kernel(x).abs().max() > 1e-6


def test_a_vector_attribute_reaches_pseudoscalars_of_the_slit() -> None:
    group = SymmetryGroup("D_inf_h")
    pseudoscalar = next(irrep for irrep in group.irreps(0) if irrep.parity == -1)
    kernel = ImplicitKernel(
        FieldType.scalar(group), FieldType(group, [(1, pseudoscalar)]), FieldType.vector(group)
    ).double()
    x = torch.randn(2, 16, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert kernel(x[0], x[1]).abs().max() > 1e-6
