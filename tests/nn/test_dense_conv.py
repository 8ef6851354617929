"""Convolution on grids: exact under the symmetries of the grid, close under others."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from sikff.field_types import FieldType
from sikff.groups import SymmetryGroup
from sikff.nn import DenseConv
from symmetry_cases import TILTED, group, randn, relative_error, seeded, turn_about
from tolerances import TOLERANCES, Tolerance

D = torch.float64
Z = np.array([0.0, 0.0, 1.0])

# the same operation as a matrix (in standard orientation) and on an array [B, d, X, Y(, Z)]
QUARTER_Z = (turn_about(Z, np.pi / 2), lambda f: torch.rot90(f, 1, (2, 3)))
HALF_Z = (turn_about(Z, np.pi), lambda f: torch.flip(f, (2, 3)))
MIRROR_X = (np.diag([-1.0, 1.0, 1.0]), lambda f: torch.flip(f, (2,)))
QUARTER_X = (turn_about([1, 0, 0], np.pi / 2), lambda f: torch.rot90(f, 1, (3, 4)))
QUARTER_Y = (turn_about([0, 1, 0], np.pi / 2), lambda f: torch.rot90(f, 1, (4, 2)))
HALF_X = (turn_about([1, 0, 0], np.pi), lambda f: torch.flip(f, (3, 4)))
INVERSION = (-np.eye(3), lambda f: torch.flip(f, (2, 3, 4)))
IMPROPER_Z = (-turn_about(Z, np.pi / 2), lambda f: torch.flip(torch.rot90(f, 1, (2, 3)), (2, 3, 4)))

CASES = [
    ("SO(2)", 2, [QUARTER_Z, HALF_Z]),
    ("C4", 2, [QUARTER_Z]),
    ("C_inf_v", 2, [QUARTER_Z, MIRROR_X]),
    ("C6v", 2, [HALF_Z, MIRROR_X]),
    (TILTED, 2, [HALF_Z]),
    ("O(3)", 3, [QUARTER_Z, QUARTER_X, QUARTER_Y, MIRROR_X, INVERSION]),
    ("Oh", 3, [QUARTER_X, QUARTER_Y, INVERSION]),
    ("Td", 3, [HALF_X, IMPROPER_Z]),
    ("D_inf_h", 3, [QUARTER_Z, HALF_X, INVERSION]),
    (TILTED, 3, [IMPROPER_Z, HALF_Z]),
]


def types(g: SymmetryGroup) -> tuple[FieldType, FieldType]:
    return FieldType.vector(g) + FieldType.scalar(g), FieldType.scalar(g, 2) + FieldType.vector(g)


def transform(t: FieldType, matrix: np.ndarray, f: Tensor) -> Tensor:
    """rho(g) on the channels of [B, d, ...]."""
    q = t.group.orientation
    rho = t.representation(q @ matrix @ q.T).to(f.dtype)
    return torch.einsum("cd,bd...->bc...", rho, f)


def convolution(name: str, dimension: int, **options: object) -> DenseConv:
    return seeded(
        DenseConv(
            *types(group(name)), dimension, kernel_size=3, hidden_fields=2, width=8, **options
        )
    )


@pytest.mark.parametrize(("name", "dimension", "operations"), CASES)
def test_it_is_exact_under_the_symmetries_of_the_grid(
    name: str, dimension: int, operations: list, dtype: torch.dtype, tolerance: Tolerance
) -> None:
    conv = convolution(name, dimension).to(dtype)
    f = randn(2, conv.in_type.size, *[5] * dimension, seed=1, dtype=dtype)
    y = conv(f)
    assert y.shape == (2, conv.out_type.size, *[5] * dimension)
    for matrix, on_arrays in operations:
        got = conv(transform(conv.in_type, matrix, on_arrays(f)))
        expected = transform(conv.out_type, matrix, on_arrays(y))
        assert relative_error(got, expected) < tolerance.equivariance
        wrong = transform(conv.out_type, matrix, y)  # channels turned, grid not
        assert relative_error(got, wrong) > 1e-2


def test_it_breaks_symmetries_outside_the_group() -> None:
    conv = convolution("SO(2)", 2).double()
    f = randn(2, conv.in_type.size, 5, 5, seed=1)
    matrix, on_arrays = MIRROR_X
    mirrored = FieldType.vector(group("C_inf_v")) + FieldType.scalar(group("C_inf_v"))
    out = FieldType.scalar(group("C_inf_v"), 2) + FieldType.vector(group("C_inf_v"))
    got = conv(transform(mirrored, matrix, on_arrays(f)))
    assert relative_error(got, transform(out, matrix, on_arrays(conv(f)))) > 1e-2


def smooth_field(dimension: int, angle: float, half: int) -> Tensor:
    """Blobs of a scalar and a vector, turned about z: f_g(x) = rho(g) f(g^-1 x), on the grid."""
    rng = np.random.default_rng(0)
    centres = np.zeros((12, 3))
    centres[:, :dimension] = rng.uniform(-half, half, (12, dimension))
    values = rng.normal(size=(12, 4))
    g = turn_about(Z, angle)
    axis = np.arange(-half, half + 1.0)
    points = np.zeros((len(axis) ** dimension, 3))
    grids = np.meshgrid(*[axis] * dimension, indexing="ij")
    points[:, :dimension] = np.stack([a.ravel() for a in grids], 1)
    distance = np.linalg.norm(points[:, None] - centres @ g.T, axis=-1)
    field = np.exp(-0.5 * (distance / 2.0) ** 2) @ values
    field[:, :3] = field[:, :3] @ g.T
    return torch.from_numpy(field.T).reshape(1, 4, *[len(axis)] * dimension)


def test_the_shell_makes_it_nearly_equivariant_under_other_rotations() -> None:
    """45 degrees, at the centre pixel. Without a shell the square's corners break it.

    Measured (mean of four kernels, 7 pixels wide): 1.2 % with the default width, 6.3 % without.
    """
    g = group("SO(2)")
    errors = {}
    for shell, options in {"default": {}, "none": {"sigma": 100.0}}.items():
        measured = []
        for seed in range(4):
            conv = DenseConv(*types(g), 2, kernel_size=7, padding=0, hidden_fields=4, **options)
            conv = seeded(conv, seed).double()
            y, y_turned = (conv(smooth_field(2, angle, 3)) for angle in (0.0, np.pi / 4))
            assert y.shape == (1, 5, 1, 1)
            expected = transform(conv.out_type, turn_about(Z, np.pi / 4), y)
            measured.append(relative_error(y_turned, expected))
        errors[shell] = float(np.mean(measured))
    assert errors["default"] < 0.03
    assert errors["none"] > 2.5 * errors["default"]


def test_filters_are_the_kernel_at_the_pixels() -> None:
    conv = convolution("SO(2)", 2, spacing=0.5).double()
    bank = conv.filters()
    assert bank.shape == (5, 4, 3, 3)
    x = torch.tensor([[0.5, -0.5, 0.0]], dtype=D)
    assert relative_error(bank[:, :, 2, 0], conv.kernel(x)[0] / 3) < TOLERANCES[D].parity


def test_stride_and_padding() -> None:
    conv = convolution("SO(2)", 2, stride=2, padding=0)
    y = conv(randn(1, 4, 7, 9, seed=0, dtype=torch.float32))
    assert y.shape == (1, 5, 3, 4)
    full = convolution("SO(2)", 2, padding=0)
    every = full(randn(1, 4, 7, 9, seed=0, dtype=torch.float32))
    assert relative_error(every[..., ::2, ::2], y) < TOLERANCES[torch.float32].parity


def test_unit_variance_in_gives_unit_variance_out() -> None:
    for name, dimension in (("SO(2)", 2), ("O(3)", 3)):
        g = group(name)
        t = FieldType.harmonic(g, 1, n=4)
        conv = seeded(DenseConv(t, t, dimension, kernel_size=5))
        y = conv(randn(4, t.size, *[9] * dimension, seed=0, dtype=torch.float32))
        assert 0.05 < y.std() < 5


def test_bad_input() -> None:
    t = FieldType.scalar(group("SO(2)"))
    with pytest.raises(ValueError, match="2 or 3 dimensions; got 1"):
        DenseConv(t, t, 1)
    for size in (0, 4):
        with pytest.raises(ValueError, match="must be odd"):
            DenseConv(t, t, 2, kernel_size=size)
    conv = DenseConv(t, t, 2, kernel_size=3)
    for shape in ((1, 2, 5, 5), (1, 1, 5), (1, 1, 5, 5, 5)):
        with pytest.raises(ValueError, match=r"expected \[B, 1\] and 2 grid axes"):
            conv(torch.zeros(shape))


class Convolutions(TorchDispatchMode):
    """Records by name the arguments of every convolution that torch is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[dict] = []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        if "convolution" in str(operator):
            names = [argument.name for argument in operator._schema.arguments]
            self.calls.append(dict(zip(names, args, strict=False)))
        return operator(*args, **(kwargs or {}))


@pytest.mark.parametrize("dimension", [2, 3])
def test_it_never_runs_in_tf32(dimension: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """cuDNN's default; its rounding, 1e-3, would break the equivariance that is promised."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    conv = convolution("C4", dimension).float()
    f = randn(2, conv.in_type.size, *[5] * dimension, seed=1, dtype=torch.float32)
    with Convolutions() as recorder:
        conv(f)
    assert [call["allow_tf32"] for call in recorder.calls] == [False]
    assert torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("dimension", [2, 3])
def test_it_works_under_autocast(dimension: int) -> None:
    conv = convolution("C4", dimension).float()
    f = randn(2, conv.in_type.size, *[5] * dimension, seed=1, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = conv(f)
    assert relative_error(y.float(), conv(f)) < 0.05  # a few roundings to 8 bits


@pytest.mark.parametrize(("stride", "padding"), [(1, None), (2, 0), (3, 2)])
@pytest.mark.parametrize("dimension", [2, 3])
def test_it_is_the_convolution_of_torch_with_its_filters(
    dimension: int, stride: int, padding: int | None
) -> None:
    conv = convolution("C4", dimension, stride=stride, padding=padding).double()
    f = randn(2, conv.in_type.size, *[6, 7, 5][:dimension], seed=1).requires_grad_()
    convolve = F.conv2d if dimension == 2 else F.conv3d
    expected = convolve(f, conv.filters(), stride=stride, padding=1 if padding is None else padding)
    got = conv(f)
    torch.testing.assert_close(got, expected, rtol=0, atol=0)
    weights = randn(*got.shape, seed=2)
    gradients = [torch.autograd.grad(y, f, weights, retain_graph=True)[0] for y in (got, expected)]
    torch.testing.assert_close(*gradients, rtol=0, atol=0)
