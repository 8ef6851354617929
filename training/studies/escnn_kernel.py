"""The analytic steerable kernels of escnn, as a rival to implicit ones.

Cesa, Lang, Weiler, "A program to build E(n)-equivariant steerable CNNs", ICLR 2022. escnn derives,
group by group, a basis of all kernels that are harmonic polynomials of the direction; rings, which
are Gaussians of the distance, and weights make kernels of it. escnn is imported only here, and only
when a kernel is built.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sikff.field_types import FieldType
from sikff.groups import Irrep, SymmetryGroup
from sikff.groups.harmonic_polynomials import sphere_points
from sikff.groups.null_space import hom_basis
from sikff.nn import GaussianBasis, Harmonics, NeighbourLayout, neighbour_layout
from sikff.nn.constants import ConstantModule, ToCanonical, check_size
from sikff.nn.kernel import TINY, default_degree
from sikff.nn.neighbour_table import sum_outer_products

Array = np.ndarray

# our group -> escnn's space of 3D points and its arguments; both have z as their axis
SPACES: dict[str, tuple[str, dict[str, Any]]] = {
    "SO(2)": ("rot2dOnR3", {}),
    "C_inf_v": ("conicalOnR3", {"axis": 0.0}),
    "D_inf": ("dihedralOnR3", {"axis": 0.0}),
    "C_inf_h": ("cylindricalOnR3", {}),
    "D_inf_h": ("fullCylindricalOnR3", {"axis": 0.0}),
    "SO(3)": ("rot3dOnR3", {}),
    "O(3)": ("flipRot3dOnR3", {}),
    "Cs": ("mirOnR3", {}),
    "Ci": ("invOnR3", {}),
    "C1": ("trivialOnR3", {}),
    **{f"C{n}": ("rot2dOnR3", {"n": n}) for n in (2, 3, 4, 6)},
    **{f"C{n}v": ("conicalOnR3", {"n": n, "axis": 0.0}) for n in (2, 3, 4, 6)},
    **{f"D{n}": ("dihedralOnR3", {"n": n, "axis": 0.0}) for n in (2, 3, 4, 6)},
    "O": ("octaOnR3", {}),
    "Oh": ("fullOctaOnR3", {}),
}
CYCLE = np.roll(np.eye(3), -1, axis=0)  # x to z: escnn's single mirror reflects x, ours z


class AnalyticConvolution(ConstantModule):
    """f_out_i = sum_j k(x_j - x_i) f_j, k in the span of escnn's basis times Gaussian rings.

    Args:
        in_type, out_type: of the features.
        attr_type: must be None: these kernels are functions of positions only.
        rings: number of them, equally spaced from zero on.
        extent: radius of the last ring.
        max_degree: highest degree of the harmonics (default: as of our kernels).
        scale: constant factor, such as 1/sqrt(average number of neighbours).

    Raises:
        ValueError: escnn is not installed or does not know the group, or attributes are asked for.
    """

    def __init__(
        self,
        in_type: FieldType,
        out_type: FieldType,
        attr_type: FieldType | None = None,
        *,
        rings: int = 4,
        extent: float = 1.0,
        max_degree: int | None = None,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        if attr_type is not None:
            raise ValueError(
                "escnn's kernels see no attributes; expected attr_type=None, or take ImplicitKernel"
            )
        self.in_type, self.out_type, self.scale = in_type, out_type, scale
        degree = default_degree(in_type, out_type) if max_degree is None else max_degree
        self.to_canonical = ToCanonical(in_type)
        self.from_canonical = ToCanonical(out_type, inverse=True)
        self.harmonics = Harmonics(in_type.group, degree)
        self.rings = GaussianBasis(rings, extent)
        self.weights = nn.ParameterDict()
        for o, out in enumerate(out_type.canonical.blocks):
            for i, source in enumerate(in_type.canonical.blocks):
                basis = angular_basis(source.irrep, out.irrep, degree)
                if len(basis):
                    self.register_constant(f"basis_{i}_{o}", basis)
                    n_inputs = rings * len(basis) * source.copies
                    self.weights[f"{i}_{o}"] = nn.Parameter(torch.randn(n_inputs, out.copies))

    def forward(
        self,
        f: Tensor,
        vectors: Tensor,
        edge_index: Tensor,
        attr: Tensor | None = None,
        layout: NeighbourLayout | None = None,
    ) -> Tensor:
        """Features of the receivers [M, d_out], as of :class:`sikff.nn.PointConv`."""
        check_size("AnalyticConvolution", f, self.in_type)
        if layout is None:
            layout = neighbour_layout(edge_index, len(f), f.dtype)
        x = layout.in_slots(vectors)
        r = torch.sqrt((x * x).sum(-1) + TINY)
        rings = self.rings(r) * (self.scale * layout.filled).unsqueeze(-1)
        h = rings.unsqueeze(-1) * self.harmonics(x / r.unsqueeze(-1)).unsqueeze(-2)
        sources = self.to_canonical(f).split(self.in_type.canonical.block_sizes, dim=1)
        sums = sum_outer_products(h.flatten(1), sources, layout)
        out = [
            self._block(o, sums, rings.shape[1]) for o in range(len(self.out_type.canonical.blocks))
        ]
        return self.from_canonical(torch.cat(out, dim=1))

    def _block(self, o: int, sums: list[Tensor], n_rings: int) -> Tensor:
        """Components of the result [M, d_out copies] that belong to its irrep number o."""
        block = self.out_type.canonical.blocks[o]
        terms, n_inputs = [], 0
        for i, source in enumerate(self.in_type.canonical.blocks):
            if f"{i}_{o}" not in self.weights:
                continue
            a = sums[i].unflatten(1, (n_rings, -1)).unflatten(-1, (source.irrep.dim, -1))
            responses = torch.einsum("nkmic,bomi->nokbc", a, getattr(self, f"basis_{i}_{o}"))
            weights = self.weights[f"{i}_{o}"]
            terms.append(responses.flatten(2) @ weights)
            n_inputs += len(weights)
        if not terms:
            return sums[0].new_zeros(len(sums[0]), block.stop - block.start)
        return torch.stack(terms).sum(dim=0).flatten(1) * n_inputs**-0.5


@lru_cache(maxsize=4096)
def angular_basis(source: Irrep, out: Irrep, max_degree: int) -> Array:
    """escnn's kernels between two irreps as sums of our harmonics, [n, d_out, n_harmonics, d_in].

    The kernels are sampled on the unit sphere, where a ring of unit radius is one, transformed to
    our bases of the irreps, and fitted. They are scaled to preserve unit variance.
    """
    group = source.group
    space = escnn_space(group, max(source.frequency, out.frequency, 1))
    their_source, from_ours = _partner(source, space)
    their_out, to_theirs = _partner(out, space)
    harmonics = Harmonics(group, max_degree).double()
    points = sphere_points(16 * (max_degree + 1) ** 2)
    kernels = _escnn("kernels")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            basis = space.build_kernel_basis(
                their_source, their_out, sigma=[1.0], rings=[1.0], maximum_frequency=max_degree
            )
        except kernels.EmptyBasisException:
            return np.zeros((0, out.dim, harmonics.out_type.size, source.dim))
        their_points = torch.from_numpy(points @ _rotation(group))
        samples = basis.sample(their_points.float()).double().numpy()  # their tables are in float32
    samples = to_theirs.T @ samples @ from_ours
    values = harmonics(torch.from_numpy(points)).numpy()
    fit = np.linalg.lstsq(values, samples.reshape(len(points), -1), rcond=None)[0]
    fit = fit.reshape(-1, len(basis), out.dim, source.dim).transpose(1, 2, 0, 3)
    return fit * np.sqrt(out.dim / (fit**2).sum(axis=(1, 2, 3), keepdims=True))


def escnn_space(group: SymmetryGroup, max_frequency: int) -> Any:
    """escnn's space of 3D points on which its copy of a group acts.

    Raises:
        ValueError: escnn is not installed, or does not know the group.
    """
    if group.name not in SPACES:
        raise ValueError(
            f"the analytic kernels of escnn are there for {', '.join(SPACES)}; got {group.name}, "
            "take the implicit or the one-layer kernel"
        )
    name, arguments = SPACES[group.name]
    if group.lie_dimension:
        arguments = {**arguments, "maximum_frequency": max_frequency}
    return getattr(_escnn("gspaces"), name)(**arguments)


def _partner(irrep: Irrep, space: Any) -> tuple[Any, Array]:
    """escnn's irrep that is equivalent to ours, and the orthogonal map from ours to theirs."""
    group = irrep.group
    rotation = _rotation(group)
    elements = list(space.fibergroup.testing_elements())
    matrices = rotation @ np.array([space.basespace_action(e) for e in elements]) @ rotation.T
    ours = list(irrep.representation(matrices))
    for theirs in space.fibergroup.irreps():
        if theirs.size == irrep.dim:
            maps = hom_basis(ours, [np.asarray(theirs(e)) for e in elements])
            if len(maps):
                return theirs, maps[0]
    raise ValueError(f"escnn's {space.name} has no irrep like {irrep} of {group}")


def _rotation(group: SymmetryGroup) -> Array:
    """Orthogonal matrix from escnn's coordinates to ours."""
    return group.orientation @ CYCLE if group.name == "Cs" else group.orientation


def _escnn(module: str) -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # escnn 1.0.11 and its dependencies warn on import
        try:
            import escnn.gspaces
            import escnn.kernels
        except ModuleNotFoundError as error:
            raise ValueError(
                "the analytic kernels of escnn need escnn, which is not installed; run "
                '`pip install "sikff[escnn]"`, or take the one-layer kernel'
            ) from error
    return getattr(escnn, module)
