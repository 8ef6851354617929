"""Conditions of a structure: the electric field and the surface that act on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

Vector = tuple[float, float, float]

FIELD, ORIGIN, SURFACE = KEYS = ("electric_field", "surface_origin", "surface")
FIELDS = (FIELD, "REF_electric_field", "external_field", "external_E_field")  # of other programs
NO_FIELD = (0.0, 0.0, 0.0)
VACUUM = "vacuum"  # names the absence of a surface


class Conditions(NamedTuple):
    """Electric field and surface of one structure.

    What all structures of a model share, such as the range of the plane, is in its
    :class:`~sikff.forcefield.EnvironmentConfig`.
    """

    field: Vector = NO_FIELD  # uniform electric field, V/Å
    origin: Vector | None = None  # a point of the surface, Å; None: the model's plane_origin
    surface: str | None = None  # its name; "vacuum": no surface; None: the model's only surface

    @classmethod
    def of(cls, info: Mapping[str, Any], given: Mapping[str, Any] | None = None) -> Conditions:
        """Reads the conditions from ``atoms.info`` and from parameters of a calculator.

        Args:
            info: may hold ``electric_field`` or another of ``FIELDS`` (three numbers, V/Å),
                ``surface_origin`` (three numbers, Å) and ``surface`` (a name). None is no value.
            given: parameters, under the same names.

        Raises:
            ValueError: if a value is of another kind, or the two hold different values.
        """
        from_info, from_given = _parsed(info), _parsed(given or {})
        for key in from_info.keys() & from_given.keys():
            if from_info[key] != from_given[key]:
                raise ValueError(
                    f"atoms.info has {key} {_text(from_info[key])}, the calculator "
                    f"{_text(from_given[key])}; expected one of them, or the same in both"
                )
        merged = from_given | from_info
        return cls(merged.get(FIELD, NO_FIELD), merged.get(ORIGIN), merged.get(SURFACE))

    def surface_index(self, surfaces: Sequence[str]) -> int:
        """Index of the surface in the names that a model has for surfaces; -1 in vacuum.

        Raises:
            ValueError: for a surface without a name there, or no surface if there are several.
        """
        if self.surface == VACUUM:
            return -1
        if self.surface is None and len(surfaces) < 2:
            return 0
        for index, name in enumerate(surfaces):
            if name == self.surface:
                return index
        got = "no surface is named" if self.surface is None else f"{SURFACE} is {self.surface!r}"
        expected = f"one of {', '.join((*surfaces, VACUUM))}" if surfaces else "no name"
        raise ValueError(f"{got}; the model expects {expected} (its environment.surfaces)")


def _parsed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of ``KEYS``, checked; fields of other programs under the first of them."""
    given = {key: values[key] for key in {*FIELDS, *KEYS} if values.get(key) is not None}
    fields = {key: _vector(given[key], key, "V/Å") for key in FIELDS if key in given}
    if len(set(fields.values())) > 1:
        got = ", ".join(f"{key} {_text(field)}" for key, field in fields.items())
        raise ValueError(f"got {got}; expected one of them, or the same in all")
    parsed: dict[str, Any] = {}
    if fields:
        parsed[FIELD] = next(iter(fields.values()))
    if ORIGIN in given:
        parsed[ORIGIN] = _vector(given[ORIGIN], ORIGIN, "Å")
    if SURFACE in given:
        if not isinstance(given[SURFACE], str):
            raise ValueError(
                f"{SURFACE} is {given[SURFACE]!r}; expected the name of a surface, or no such entry"
            )
        parsed[SURFACE] = str(given[SURFACE])  # may be a str_ of NumPy
    return parsed


def _vector(value: Sequence[float] | np.ndarray, name: str, unit: str) -> Vector:
    try:
        vector = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):  # words, lists of unequal lengths
        vector = np.empty(0)
    if vector.shape != (3,) or not np.isfinite(vector).all():
        raise ValueError(f"{name} is {value!r}; expected three finite numbers in {unit}")
    x, y, z = vector.tolist()
    return x, y, z


def _text(value: Vector | str) -> str:
    return value if isinstance(value, str) else str(list(value))
