"""Operations {W|w} of the plane modulo lattice translations, in lattice coordinates."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

Array = np.ndarray

MAX_ORDER = 12  # of a point group of the plane that has a lattice
_SNAP = 1e-10  # shifts this close to a multiple of 1/24 are that multiple
_TERM = re.compile(r"([+-]?)(x|y|\d+/[1-9]\d*|\d+(?:\.\d*)?|\.\d+)(?=[+-]|$)")


class Operation(NamedTuple):
    """x -> W x + w on lattice coordinates x, with w modulo 1.

    Attributes:
        matrix: W, whole numbers [2, 2].
        shift: w [2], in [0, 1).
    """

    matrix: tuple[tuple[int, int], tuple[int, int]]
    shift: tuple[float, float]

    @classmethod
    def of(cls, matrix: Array | Sequence, shift: Array | Sequence[float]) -> Operation:
        """The operation with these numbers; shifts near a multiple of 1/24 are made exact.

        Raises:
            ValueError: W is not a matrix [2, 2] of whole numbers with determinant 1 or -1, or w is
                not two finite numbers.
        """
        w, exact = np.asarray(shift, float), np.asarray(matrix, float)
        is_whole = exact.shape == (2, 2) and bool((exact == np.round(exact)).all())
        if not is_whole or abs(round(np.linalg.det(exact))) != 1:
            raise ValueError(
                f"got {exact.tolist()}; expected whole numbers [2, 2] with determinant 1 or -1: an "
                "operation in coordinates of the lattice vectors"
            )
        if w.shape != (2,) or not np.isfinite(w).all():
            raise ValueError(f"got the shift {shift!r}; expected two finite numbers")
        near = np.round(24 * w) / 24
        w = np.where(abs(w - near) < _SNAP, near, w) % 1.0
        (a, b), (c, d) = exact.astype(int).tolist()
        return cls(((a, b), (c, d)), (float(w[0]), float(w[1])))

    @classmethod
    def parse(cls, text: str) -> Operation:
        """The operation written as in the International Tables, such as ``"-x+1/2, y"``.

        Raises:
            ValueError: the text has another form.
        """
        matrix, shift = np.zeros((2, 2)), np.zeros(2)
        parts = re.sub(r"\s", "", str(text)).lower().split(",")
        for row, part in enumerate(parts if len(parts) == 2 else ["?"]):
            if not part or _TERM.sub("", part):
                raise ValueError(f"got the operation {text!r}; expected a form like '-x+1/2, y'")
            for sign, term in _TERM.findall(part):
                factor = -1 if sign == "-" else 1
                if term in "xy":
                    matrix[row, "xy".index(term)] += factor
                else:
                    shift[row] += factor * float(Fraction(term))
        return cls.of(matrix, shift)

    def __matmul__(self, other: Operation) -> Operation:
        """This operation after another one."""
        w = np.array(self.matrix)
        return Operation.of(w @ other.matrix, w @ other.shift + self.shift)

    def __str__(self) -> str:
        parts = []
        for row, shift in zip(self.matrix, self.shift, strict=True):
            terms = [{1: "+", -1: "-"}[n] + name for n, name in zip(row, "xy", strict=True) if n]
            fraction = Fraction(shift).limit_denominator(24)
            if shift:
                is_exact = abs(float(fraction) - shift) < _SNAP
                terms.append(f"+{fraction if is_exact else np.format_float_positional(shift)}")
            parts.append("".join(terms).removeprefix("+"))
        return ", ".join(parts)


def close(generators: Iterable[Operation], lattice: Array, tolerance: float) -> list[Operation]:
    """All operations modulo the translations of a lattice, the identity first.

    Args:
        lattice: rows are the lattice vectors (Å).
        tolerance: largest distance (Å) between two translations that are the same; the shifts
            returned are those of an exact group, to rounding.

    Raises:
        ValueError: the generators span more than 12 operations, or a translation that is not one
            of the lattice.
    """
    generators = list(generators)
    found = [Operation.of(np.eye(2), np.zeros(2))]
    for operation in found:  # grows meanwhile
        for generator in generators:
            new = operation @ generator
            same = next((o for o in found if o.matrix == new.matrix), None)
            if same is None:
                found.append(new)
                continue
            rest = np.subtract(new.shift, same.shift)
            rest -= np.round(rest)
            if np.linalg.norm(rest @ lattice) > tolerance:
                raise ValueError(
                    f"the generators {'; '.join(map(str, generators))} make the translation "
                    f"{rest.round(4).tolist()} of the lattice vectors too; give the lattice with "
                    "the shortest translations, and shifts to more digits"
                )
        if len(found) > MAX_ORDER:
            raise ValueError(
                f"the generators {'; '.join(map(str, generators))} span more than {MAX_ORDER} "
                "operations; expected turns of order 1, 2, 3, 4 or 6, and mirrors"
            )
    return _with_exact_shifts(found)


def _with_exact_shifts(operations: Sequence[Operation]) -> list[Operation]:
    """Shifts averaged over the group: w_i = mean over j of w_ij - W_i w_j, modulo whole numbers."""
    by_matrix = {o.matrix: o for o in operations}
    exact = []
    for i in operations:
        total = np.zeros(2)
        for j in operations:
            product = i @ j
            defect = np.subtract(by_matrix[product.matrix].shift, product.shift)
            total += np.array(i.shift) + defect - np.round(defect)
        exact.append(Operation.of(i.matrix, total / len(operations)))
    return exact


def classify(operations: Sequence[Operation], lattice: Array) -> str:
    """Hermann-Mauguin name of the wallpaper group with these operations (one for each W)."""
    order = sum(_determinant(o) > 0 for o in operations)
    reflections = [o for o in operations if _determinant(o) < 0]
    kinds = "".join(sorted(_kind(o) for o in reflections))
    if order == 3 and reflections:
        return "p31m" if _is_along_shortest(reflections[0], lattice) else "p3m1"
    name = {
        **{(n, ""): f"p{n}" for n in (1, 2, 3, 4, 6)},
        **{(1, "c"): "cm", (1, "m"): "pm", (1, "g"): "pg"},
        **{(2, "cc"): "c2mm", (2, "mm"): "p2mm", (2, "gm"): "p2mg", (2, "gg"): "p2gg"},
        **{(4, "ccmm"): "p4mm", (4, "ccgg"): "p4gm", (6, "cccccc"): "p6mm"},
    }
    return name[order, kinds]


def _determinant(operation: Operation) -> int:
    (a, b), (c, d) = operation.matrix
    return a * d - b * c


def _kind(reflection: Operation) -> str:
    """m: mirror, g: glide; c: both, one between the others, as in a centred lattice."""
    along = np.eye(2, dtype=int) + reflection.matrix  # twice the projector on the mirror line
    if (along % 2).any():
        return "c"
    glide = along @ reflection.shift / 2
    return "m" if np.abs(glide - np.round(glide)).max() < 1e-6 else "g"


def _is_along_shortest(reflection: Operation, lattice: Array) -> bool:
    """Whether the mirror line of a hexagonal lattice runs along a shortest lattice vector."""
    column = max(
        (np.eye(2, dtype=int) + reflection.matrix).T.tolist(), key=lambda c: np.abs(c).sum()
    )
    along = np.array(column) / math.gcd(*column)
    return bool(np.linalg.norm(along @ lattice) < 1.2 * np.linalg.norm(lattice, axis=1).min())
