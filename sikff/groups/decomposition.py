"""Any orthogonal representation of a group as a direct sum of its irreps."""

from collections.abc import Callable

import numpy as np

from sikff.groups.couplings import endomorphisms
from sikff.groups.group import Irrep, SymmetryGroup
from sikff.groups.matrices import SAME, is_member
from sikff.groups.null_space import embeddings

Array = np.ndarray
Representation = Array | Callable[[Array], Array]

MAX_AXIAL_FREQUENCY = 16  # irreps of axial groups are all small, so sizes set no limit


def decompose(group: SymmetryGroup, matrices: Representation) -> list[tuple[Irrep, Array]]:
    """A representation D of G as pairs (irrep, isometry [d, d_irrep]), in canonical order.

    The isometries T satisfy D(g) T = T rho(g); together their columns are an orthonormal basis.
    They come from projectors by a fixed rule, so they depend on D alone.

    Args:
        matrices: D of ``group.generators`` in their order, [k, d, d], orthogonal and right to 1e-6;
            or a function from elements [3, 3] to D(g) [d, d].

    Raises:
        ValueError: another number or shape of matrices, matrices that are not orthogonal, or that
            do not multiply as the generators do.
    """
    given = _on_generators(group, matrices)
    size = given.shape[-1]
    if not group.lie_dimension:
        _check_relations(group, given)
    highest = {0: group.order, 1: MAX_AXIAL_FREQUENCY, 3: (size - 1) // 2}[group.lie_dimension]
    parts: list[tuple[Irrep, Array]] = []
    seen = frequency = found = 0
    while found < size and frequency <= highest:
        irreps = group.irreps(frequency)
        for irrep in irreps[seen:]:
            rho = list(irrep.representation(group.generators))
            parts += [(irrep, t) for t in embeddings(rho, list(given), endomorphisms(irrep))]
        found = sum(irrep.dim for irrep, _ in parts)
        seen, frequency = len(irreps), frequency + 1
    if found != size:
        raise ValueError(
            f"the matrices are no representation of {group}: its irreps up to frequency "
            f"{frequency - 1} account for {found} of their {size} components; expected matrices "
            f"that multiply as the {len(given)} matrices of group.generators do"
        )
    if callable(matrices):
        _check_function(group, matrices, parts)
    return parts


def _on_generators(group: SymmetryGroup, matrices: Representation) -> Array:
    """The matrices [k, d, d] of the generators, checked one by one."""
    if callable(matrices):
        matrices = np.array([matrices(g) for g in group.generators])
    given = np.asarray(matrices, dtype=np.float64)
    k = len(group.generators)
    if given.ndim != 3 or len(given) != k or given.shape[1] != given.shape[2]:
        raise ValueError(
            f"expected one matrix [d, d] for each of the {k} matrices of group.generators of "
            f"{group}, together [{k}, d, d]; got shape {given.shape}"
        )
    gram = given @ given.transpose(0, 2, 1)
    deviations = np.abs(gram - np.eye(given.shape[1])).max(axis=(1, 2), initial=0.0)
    index = int(np.argmax(deviations))  # a NaN counts as the largest
    if not deviations[index] < SAME:
        raise ValueError(
            f"matrix {index} is not orthogonal: |D D^T - 1| is up to {deviations[index]:.1e}. "
            "Change to a basis in which it is: D -> S^-1 D S, where S S^T is the mean of "
            "D(g) D(g)^T over the group"
        )
    return given


def _check_relations(group: SymmetryGroup, given: Array) -> None:
    """Raise ValueError unless products of generators that agree have the same matrices."""
    elements, images = [np.eye(3)], [np.eye(given.shape[1])]
    worst = 0.0
    for element, image in zip(elements, images, strict=True):  # both lists grow meanwhile
        for generator, matrix in zip(group.generators, given, strict=True):
            product, its_image = element @ generator, image @ matrix
            if is_member(product, np.array(elements)):
                same = np.abs(np.array(elements) - product).max(axis=(1, 2)).argmin()
                worst = max(worst, float(np.abs(images[same] - its_image).max(initial=0.0)))
            else:
                elements.append(product)
                images.append(its_image)
    if worst > 10 * SAME:  # errors of the input add up in products
        raise ValueError(
            f"the matrices are no representation of {group}: products of generators that are the "
            f"same element have matrices that differ by {worst:.1e}. Give the matrices of "
            "group.generators, in their order"
        )


def _check_function(
    group: SymmetryGroup, function: Callable[[Array], Array], parts: list[tuple[Irrep, Array]]
) -> None:
    """Raise ValueError unless a function agrees with its decomposition at other elements too."""
    for g in group.sample(8, seed=0).numpy():
        expected = sum(t @ irrep.representation(g) @ t.T for irrep, t in parts)
        worst = float(np.abs(function(g) - expected).max(initial=0.0))
        if not worst < 10 * SAME:
            raise ValueError(
                f"the function is no representation of {group}: at the element {g.round(4)} it is "
                f"{worst:.1e} off the representation that its values at the generators define"
            )
