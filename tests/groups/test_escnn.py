"""escnn as an oracle for the groups: `pip install sikff[escnn]`, else these tests are skipped.

escnn's bases and conventions are its own; types, characters and dimensions are not. Its groups
act on R^3 as ours do: axial ones about z, with the mirror or the half turn along x.
"""

import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch

from sikff.field_types import FieldType
from sikff.groups import SymmetryGroup
from sikff.groups.couplings import clebsch_gordan
from symmetry_cases import turn_about
from tolerances import TOLERANCES

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # escnn 1.0.11 and its dependencies warn on import
    escnn_group = pytest.importorskip("escnn.group", exc_type=ImportError)

pytestmark = pytest.mark.filterwarnings("ignore")  # theirs: deprecations while they build tables
EXACT = TOLERANCES[torch.float64].algebra
THEIRS = 1e-6  # escnn solves for some irreps numerically
Z, X = np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0])


def cyclic(element: Any) -> np.ndarray:
    return turn_about(Z, element.to("radians"))


def dihedral(element: Any) -> np.ndarray:
    flip, angle = element.to("radians")
    return turn_about(Z, angle) @ (np.diag([1.0, -1.0, -1.0]) if flip else np.eye(3))


def conical(element: Any) -> np.ndarray:
    flip, angle = element.to("radians")
    return turn_about(Z, angle) @ (np.diag([1.0, -1.0, 1.0]) if flip else np.eye(3))


def polyhedral(element: Any) -> np.ndarray:
    return np.asarray(element.to("MAT"), float)


# our name -> (their group, their element as a matrix)
CASES: dict[str, tuple[Callable[[], Any], Callable[[Any], np.ndarray]]] = {
    "C4": (lambda: escnn_group.cyclic_group(4), cyclic),
    "C5": (lambda: escnn_group.cyclic_group(5), cyclic),
    "D3": (lambda: escnn_group.dihedral_group(3), dihedral),
    "D6": (lambda: escnn_group.dihedral_group(6), dihedral),
    "C6v": (lambda: escnn_group.dihedral_group(6), conical),
    "O": (lambda: escnn_group.octa_group(), polyhedral),
    "I": (lambda: escnn_group.ico_group(), polyhedral),
    "SO(2)": (lambda: escnn_group.so2_group(4), cyclic),
    "C_inf_v": (lambda: escnn_group.o2_group(4), conical),
    "D_inf": (lambda: escnn_group.o2_group(4), dihedral),
    "SO(3)": (lambda: escnn_group.so3_group(4), polyhedral),
}


@lru_cache
def pair(name: str) -> tuple[SymmetryGroup, tuple, tuple, np.ndarray, list]:
    """(our group, our irreps, theirs, elements as matrices in our group, the same as theirs)."""
    make, matrix = CASES[name]
    theirs = make()
    ours = SymmetryGroup(name)
    if ours.lie_dimension:
        numpy_state = np.random.get_state()
        np.random.seed(0)
        samples = [theirs.sample() for _ in range(12)]
        np.random.set_state(numpy_state)
        wanted = [r for r in theirs.irreps() if max(np.ravel(r.attributes["frequency"])) <= 2]
        irreps = ours.irreps(2)
    else:
        samples = list(theirs.elements)
        wanted = list(theirs.irreps())
        irreps = ours.irreps(8)
    matrices = np.array([matrix(e) for e in samples])
    if name == "I":  # their icosahedron stands differently: ours about theirs
        ours = SymmetryGroup.from_generators(matrices)
        irreps = ours.irreps(8)
    assert ours.name == name
    assert all(ours.contains(m) for m in matrices)
    return ours, irreps, tuple(wanted), matrices, samples


def matching(name: str) -> list[tuple[Any, Any]]:
    """(our irrep, their irrep) with equal characters on all elements."""
    _, irreps, theirs, matrices, samples = pair(name)
    matched = []
    for irrep in irreps:
        character = np.trace(irrep.representation(matrices), axis1=1, axis2=2)
        same = [
            r
            for r in theirs
            if r.size == irrep.dim
            and np.abs([np.trace(r(e)) for e in samples] - character).max() < THEIRS
        ]
        assert len(same) == 1, f"{irrep} has {len(same)} partners"
        matched.append((irrep, same[0]))
    return matched


@pytest.mark.parametrize("name", CASES)
def test_irreps_agree_one_by_one(name: str) -> None:
    _, irreps, theirs, *_ = pair(name)
    assert len(irreps) == len(theirs)
    matched = matching(name)
    assert len({id(r) for _, r in matched}) == len(theirs)
    for irrep, r in matched:
        assert {"R": "real", "C": "complex", "H": "quaternionic"}[r.type] == irrep.type


@pytest.mark.parametrize("name", CASES)
def test_tensor_products_have_the_same_decomposition(name: str) -> None:
    """The kernels' dimension: Hom(a (x) b, c) is what a steerable kernel space is made of."""
    group, *_ = pair(name)
    matched = matching(name)[:4]
    for a, their_a in matched:
        for b, their_b in matched:
            product = their_a.tensor(their_b)
            for c, their_c in matched:
                copies = sum(i == their_c.id for i in product.irreps)
                expected = copies * their_c.sum_of_squares_constituents
                assert len(clebsch_gordan(a, b, c)) == expected, (a.name, b.name, c.name)
    assert FieldType(group, [(1, matched[-1][0])]).size == matched[-1][1].size


@pytest.mark.parametrize(
    ("name", "space", "arguments"),
    [
        ("SO(2)", "rot2dOnR3", {"maximum_frequency": 4}),
        ("C_inf_v", "conicalOnR3", {"maximum_frequency": 4}),
        ("SO(3)", "rot3dOnR3", {"maximum_frequency": 4}),
        ("O", "octaOnR3", {}),
        ("I", "icoOnR3", {}),
    ],
)
def test_the_number_of_steerable_kernels_on_the_sphere_agrees(
    name: str, space: str, arguments: dict
) -> None:
    """Kernels of degree <= 2 between two vectors, by escnn's solver and by our counting."""
    gspaces = pytest.importorskip("escnn.gspaces")
    nn = pytest.importorskip("escnn.nn")
    basis = getattr(gspaces, space)(**arguments)
    vector = basis.fibergroup.standard_representation
    vector = vector if hasattr(vector, "size") else vector()  # a property of some of their groups
    if vector.size == 2:  # the axial groups' own plane: add the axis
        vector = vector + basis.fibergroup.trivial_representation
    field = nn.FieldType(basis, [vector])
    layer = nn.R3Conv(
        field, field, kernel_size=3, sigma=[1.0], rings=[1.0], frequencies_cutoff=lambda r: 2
    )
    group = pair(name)[0]
    ours = FieldType.vector(group)
    degrees = FieldType.from_o3(group, "0e + 1o + 2e")
    expected = sum(
        n_a * n_b * n_c * len(clebsch_gordan(a, b, c))
        for n_a, a in degrees.fields
        for n_b, b in ours.fields
        for n_c, c in ours.fields
    )
    assert layer.basisexpansion.dimension() == expected > 0
