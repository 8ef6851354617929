"""Conditions of a structure: electric field and surface, total charge and spin multiplicity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

Vector = tuple[float, float, float]
T = TypeVar("T")

FIELD, ORIGIN, SURFACE, CHARGE, SPIN = KEYS = (
    "electric_field",
    "surface_origin",
    "surface",
    "charge",
    "spin",
)
FIELDS = (FIELD, "REF_electric_field", "external_field", "external_E_field")  # of other programs
NUMBERS = {CHARGE: (CHARGE, "total_charge"), SPIN: (SPIN, "total_spin")}  # likewise
NO_FIELD = (0.0, 0.0, 0.0)
VACUUM = "vacuum"  # names the absence of a surface
MOST = 1000  # largest charge and spin multiplicity


class Conditions(NamedTuple):
    """Electric field, surface, total charge and spin multiplicity of one structure.

    What all structures of a model share, such as the range of the plane, is in its
    :class:`~sikff.forcefield.EnvironmentConfig`.
    """

    field: Vector = NO_FIELD  # uniform electric field, V/Å
    origin: Vector | None = None  # a point of the surface, Å; None: the model's plane_origin
    surface: str | None = None  # its name; "vacuum": no surface; None: the model's only surface
    charge: int = 0  # total charge, e
    spin: int | None = None  # multiplicity 2S + 1; None: not specified

    @property
    def unpaired(self) -> int:
        """Unpaired electrons, 2S; 0 if the spin is not specified."""
        return (self.spin or 1) - 1

    @classmethod
    def of(cls, info: Mapping[str, Any], given: Mapping[str, Any] | None = None) -> Conditions:
        """Reads the conditions from ``atoms.info`` and from parameters of a calculator.

        Args:
            info: may hold ``electric_field`` or another of ``FIELDS`` (three numbers, V/Å),
                ``surface_origin`` (three numbers, Å), ``surface`` (a name), ``charge`` or
                ``total_charge``, and ``spin`` or ``total_spin``, the multiplicity; 0, which UMA's
                data have for crystals, is an unspecified spin. None is no value.
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
        return cls()._replace(**{NAMES[key]: v for key, v in (from_given | from_info).items()})

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


NAMES = dict(zip(KEYS, Conditions._fields, strict=True))  # of the conditions, by key
_READ = {*FIELDS, *KEYS, *NUMBERS[CHARGE], *NUMBERS[SPIN]}


def _parsed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of ``KEYS``, checked; those of other programs under the keys of this one."""
    given = {key: values[key] for key in _READ & values.keys() if values[key] is not None}
    parsed: dict[str, Any] = {}
    if not given:
        return parsed
    fields = {key: _vector(given[key], key, "V/Å") for key in FIELDS if key in given}
    if fields:
        parsed[FIELD] = _one_of(fields)
    for key, names in NUMBERS.items():
        numbers = {name: _whole_number(given[name], name) for name in names if name in given}
        if key == SPIN:
            numbers = {name: number for name, number in numbers.items() if number}
        if numbers:
            parsed[key] = _one_of(numbers)
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


def _whole_number(value: Any, name: str) -> int:
    """A charge, or a spin multiplicity or 0."""
    least = -MOST if name in NUMBERS[CHARGE] else 0
    try:
        array = np.asarray(value)
    except ValueError:  # lists of unequal lengths
        array = np.empty(0)
    number = array.item() if array.size == 1 and array.dtype.kind in "iuf" else np.nan
    if not (least <= number <= MOST and abs(number - round(number)) < 1e-6):
        what = "the total charge in e" if least else "the spin multiplicity 2S + 1 (0: unspecified)"
        raise ValueError(
            f"{name} is {value!r}; expected {what}, a whole number from {least} to {MOST}, or no "
            "such entry"
        )
    return round(number)


def _one_of(values: Mapping[str, T]) -> T:
    """The one value that is given, under one key or several."""
    if len(set(values.values())) > 1:
        got = ", ".join(f"{key} {_text(value)}" for key, value in values.items())
        raise ValueError(f"got {got}; expected one of them, or the same in all")
    return next(iter(values.values()))


def _text(value: object) -> str:
    return str(list(value)) if isinstance(value, tuple) else str(value)
