"""The groups, field types and small helpers that the tests of symmetry share."""

from itertools import count

import numpy as np
import torch
from torch import Tensor, nn

from sikff.field_types import FieldType
from sikff.groups import SymmetryGroup
from sikff.nn import ChannelProduct, Contraction, neighbour_layout

CONTINUOUS = ("O(3)", "SO(3)", "SO(2)", "C_inf_v", "C_inf_h", "D_inf", "D_inf_h")
FINITE = ("C1", "Ci", "Cs", "C4", "C6v", "D3", "D3h", "Td", "Oh", "I", "Ih")
TILTED = "tilted S4"  # given by a generator, about an axis in no special position
NAMES = (*CONTINUOUS, *FINITE, TILTED)
TILTED_AXIS = np.array([1.0, -2.0, 0.5]) / np.linalg.norm([1.0, -2.0, 0.5])


def turn_about(axis: np.ndarray, angle: float) -> np.ndarray:
    """Rotation matrix by Rodrigues' formula, written here independently of the package."""
    n = np.asarray(axis, float) / np.linalg.norm(axis)
    parallel = np.outer(n, n)
    cross = np.cross(np.eye(3), n)  # cross @ v = n x v
    return parallel + np.cos(angle) * (np.eye(3) - parallel) + np.sin(angle) * cross


def group(name: str) -> SymmetryGroup:
    """A group of ``NAMES`` (or any other name the package knows)."""
    if name != TILTED:
        return SymmetryGroup(name)
    mirror = np.eye(3) - 2 * np.outer(TILTED_AXIS, TILTED_AXIS)
    return SymmetryGroup.from_generators([mirror @ turn_about(TILTED_AXIS, np.pi / 2)])


def every_irrep(g: SymmetryGroup, max_frequency: int = 2, n: int = 1) -> FieldType:
    """n copies of every irrep up to a frequency."""
    return FieldType(g, [(n, irrep) for irrep in g.irreps(max_frequency)])


def random_type(g: SymmetryGroup, seed: int, size: int = 12) -> FieldType:
    """A few random irreps of frequency <= 2 in random order (also split ones), and a vector.

    The order and the Cartesian vector make sure that no layer sees only its canonical type.
    """
    rng = np.random.default_rng(seed)
    irreps = g.irreps(2)
    total = FieldType.vector(g)
    for _ in count():
        if total.size >= size:
            return total
        extra = FieldType(g, [(int(rng.integers(1, 3)), irreps[rng.integers(len(irreps))])])
        total = total + extra if rng.integers(2) else extra + total
    raise RuntimeError("unreachable")


def elements(g: SymmetryGroup, n: int = 4, seed: int = 0) -> Tensor:
    """The generators and n random elements [k, 3, 3]."""
    return torch.cat([torch.from_numpy(np.array(g.generators)), g.sample(n, seed=seed)])


def outside(larger: SymmetryGroup, g: SymmetryGroup, seed: int = 0) -> Tensor:
    """Elements of ``larger`` that do not belong to g [k, 3, 3]."""
    samples = [h for h in larger.sample(64, seed=seed) if not g.contains(h, tolerance=0.05)]
    return torch.stack(samples[:6])


def randn(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Standard normal numbers: the same in every dtype."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def seeded(module: nn.Module, seed: int = 0) -> nn.Module:
    """Redraws all weights and biases from N(0, 1), as layers draw their weights.

    Parameters without dimensions, such as the width of a shell, are unchanged.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in (p for p in module.parameters() if p.dim()):
            p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64))
    return module


def relative_error(got: Tensor, expected: Tensor) -> float:
    """max |got - expected| / max |expected|; the expected numbers must not all be zero."""
    got, expected = got.detach(), expected.detach()
    largest = float(expected.abs().max())
    assert largest > 1e-8, "nothing to compare: the expected numbers are zero"
    return float((got - expected).abs().max()) / largest


def class_average(g: SymmetryGroup, field_types: list[FieldType]) -> float:
    """Mean over G of the product of characters, by a quadrature that is exact for low degrees.

    Finite groups: all elements. Axial: equally spaced angles on every component. SO(3) and O(3):
    Weyl's formula, where the class of angle t has the density (1 - cos t) / pi on [0, pi].
    """
    matrices, weights = [], []
    n = 48
    angles = 2 * np.pi * np.arange(n) / n
    for component in np.asarray(g.elements):
        if g.lie_dimension == 0:
            matrices.append(component)
            weights.append(1.0)
            continue
        for angle in angles:
            matrices.append(turn_about(g.axis, angle) @ component)
            weights.append(1 - np.cos(angle) if g.lie_dimension == 3 else 1.0)
    product = np.array(weights) / np.sum(weights)
    for t in field_types:
        product = product * np.trace(t.representation(np.array(matrices)).numpy(), axis1=1, axis2=2)
    return float(product.sum())


def summed_both_ways(
    layer: Contraction | ChannelProduct, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Products of edges and senders, by ``sum_neighbours`` and by explicit matrices."""
    edge_index = torch.tensor([[2, 0, 2, 2, 1], [0, 1, 1, 2, 0]])
    layout = neighbour_layout(edge_index, 4, dtype)
    h = randn(5, layer.left_type.size, seed=0, dtype=dtype)
    f = randn(4, layer.right_type.size, seed=1, dtype=dtype)
    messages = (layer.matrix(h) @ f[edge_index[1]].unsqueeze(-1))[..., 0]
    zeros = torch.zeros(4, layer.out_type.size, dtype=dtype)
    expected = zeros.index_add(0, edge_index[0], messages)
    in_slots = layout.in_slots(h) * layout.filled[:, None]
    return layer.sum_neighbours(in_slots, f, layout), expected
