"""What acts on a structure from outside: an electric field, a surface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

Vector = tuple[float, float, float]

FIELD, ORIGIN, SURFACE = KEYS = ("electric_field", "surface_origin", "surface")
FIELDS = (FIELD, "REF_electric_field", "external_field", "external_E_field")  # by other programs
NO_FIELD = (0.0, 0.0, 0.0)
VACUUM = "vacuum"  # the name of no surface


class Conditions(NamedTuple):
    """What acts on one structure from outside, as far as it varies between structures.

    What all structures of a model have in common, its axis for example, is in its
    :class:`~sikff.forcefield.EnvironmentConfig`.
    """

    field: Vector = NO_FIELD  # uniform electric field, V/Å
    origin: Vector | None = None  # a point of the surface, Å; None: the model's plane_origin
    surface: str | None = None  # which; "vacuum": none; None: the only one that the model knows

    @classmethod
    def of(cls, info: Mapping[str, Any], given: Mapping[str, Any] | None = None) -> Conditions:
        """Reads them from ``atoms.info``, under the keys of ASE users.

        Args:
            info: may hold ``electric_field`` or another of ``FIELDS`` (three numbers, V/Å),
                ``surface_origin`` (three numbers, Å) and ``surface`` (a name).
            given: the same, from elsewhere; None is no value.

        Raises:
            ValueError: if a value is of another kind, or the two hold different values.
        """
        inside, outside = _checked(info), _checked(given or {})
        for key in inside.keys() & outside.keys():
            if inside[key] != outside[key]:
                raise ValueError(
                    f"atoms.info has {key} {_shown(inside[key])}, the calculator "
                    f"{_shown(outside[key])}; expected one of them, or the same in both"
                )
        merged = outside | inside
        return cls(merged.get(FIELD, NO_FIELD), merged.get(ORIGIN), merged.get(SURFACE))

    def surface_index(self, surfaces: Sequence[str]) -> int:
        """The place of the surface among those a model knows by name; -1 in vacuum.

        Raises:
            ValueError: for a surface that is not among them, or none if there are several.
        """
        if self.surface == VACUUM:
            return -1
        if self.surface is None and len(surfaces) < 2:
            return 0
        for index, name in enumerate(surfaces):
            if name == self.surface:
                return index
        said = "no surface is named" if self.surface is None else f"{SURFACE} is {self.surface!r}"
        known = f"one of {', '.join((*surfaces, VACUUM))}" if surfaces else "no name"
        raise ValueError(f"{said}; the model expects {known} (its environment.surfaces)")


def _checked(values: Mapping[str, Any]) -> dict[str, Any]:
    given = {key: values[key] for key in {*FIELDS, *KEYS} if values.get(key) is not None}
    fields = {key: _vector(given[key], key, "V/Å") for key in FIELDS if key in given}
    if len(set(fields.values())) > 1:
        said = ", ".join(f"{key} {_shown(field)}" for key, field in fields.items())
        raise ValueError(f"got {said}; expected one of them, or the same in all")
    found: dict[str, Any] = {}
    if fields:
        found[FIELD] = next(iter(fields.values()))
    if ORIGIN in given:
        found[ORIGIN] = _vector(given[ORIGIN], ORIGIN, "Å")
    if SURFACE in given:
        if not isinstance(given[SURFACE], str):
            raise ValueError(
                f"{SURFACE} is {given[SURFACE]!r}; expected the name of a surface, or no such entry"
            )
        found[SURFACE] = str(given[SURFACE])  # numpy has strings of its own
    return found


def _vector(value: Sequence[float] | np.ndarray, name: str, unit: str) -> Vector:
    try:
        vector = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):  # words, lists of unequal lengths
        vector = np.empty(0)
    if vector.shape != (3,) or not np.isfinite(vector).all():
        raise ValueError(f"{name} is {value!r}; expected three finite numbers in {unit}")
    x, y, z = vector.tolist()
    return x, y, z


def _shown(value: Vector | str) -> str:
    return value if isinstance(value, str) else str(list(value))
