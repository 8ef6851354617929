"""Labels of a structure: their keys in files, and their shapes."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import ase
import numpy as np
from ase.geometry import find_mic
from ase.stress import voigt_6_to_full_3x3_stress

from sikff.graph import has_volume
from sikff.graph.conditions import FIELDS
from sikff.graph.conditions import KEYS as CONDITIONS


class LabelKeys(NamedTuple):
    """The keys of the labels in ``atoms.info`` or ``atoms.arrays``, and of the weights of atoms;
    None: the usual."""

    energy: str | None = None
    forces: str | None = None
    stress: str | None = None
    forces_weight: str | None = None


NAMES = ("energy", "forces", "stress")
USUAL_KEYS = LabelKeys()
# In the order in which they are tried.
KEYS = {
    "energy": ("REF_energy", "energy"),
    "forces": ("REF_forces", "forces"),
    "stress": ("REF_stress", "REF_virials", "REF_virial", "stress", "virials", "virial"),
}
# Weights of labels: in atoms.info, in the order in which they are tried, and in atoms.arrays.
WEIGHT_KEYS = {
    "energy": ("config_energy_weight", "energy_weight"),
    "forces": ("config_forces_weight", "config_force_weight"),
    "stress": (
        *("config_stress_weight", "config_virials_weight", "config_virial_weight"),
        *("stress_weight", "virials_weight", "virial_weight"),
    ),
}
WEIGHT_KEYS_OF_ATOMS = (
    *("forces_weight", "forces_weights", "force_weight", "force_weights"),
    "forces_mask",
)
SHAPES: dict[str, Callable[[int], tuple[int, ...]]] = {  # by the number of atoms
    "energy": lambda n_atoms: (),
    "forces": lambda n_atoms: (n_atoms, 3),
    "stress": lambda n_atoms: (3, 3),
}
STILL = 1e-6  # Å; results are for other positions if these have moved further
_WEIGHTS = {*WEIGHT_KEYS_OF_ATOMS, *(key for keys in WEIGHT_KEYS.values() for key in keys)}
_NOT_LABELS = {"positions", "momenta", "numbers", "initial_magmoms", *CONDITIONS, *_WEIGHTS}
_COMPUTED = {"free_energy", "energies", "stresses", "dipole", "energy_std", "forces_std"}
_COMPUTED |= {key for keys in KEYS.values() for key in keys}
_SHOWN = 4  # names suggested in an error


class Label(NamedTuple):
    """The value of a label, and its key in the file."""

    value: np.ndarray  # NaN where it does not count
    key: str
    differs_from_calculator: bool  # the structure's calculator has a result that differs
    weight: float | np.ndarray = 1.0  # of forces also [N, 3]
    masked: np.ndarray | None = None  # True where it does not count; None: nowhere

    @property
    def is_finite(self) -> bool:
        """Whether all that counts is finite."""
        finite = np.isfinite(self.value)
        return bool((finite if self.masked is None else finite | self.masked).all())


def find_label(atoms: ase.Atoms, name: str, key: str | None = None) -> Label | None:
    """Returns the label `name` ("energy", "forces" or "stress") of a structure, None without one.

    The keys are `key`, or else REF_<name>, then the results of the calculator, where ASE puts
    energy, forces and stress of a file, and then the plain name. A virial becomes a stress,
    -virial / volume. Without a volume there is no stress, even if there is a value.

    Returns:
        the label in eV [], eV/Å [N, 3] or eV/Å^3 [3, 3], float64, as far as the file is in eV, Å.

    Raises:
        ValueError: if the value has another shape, is not made of numbers, or was computed for
            other positions.
    """
    holder, key = _locate(atoms, name, key)
    if holder is None:
        return None
    results = {} if atoms.calc is None else atoms.calc.results
    if holder is results:
        _check_results(atoms)
    value = _shaped(holder[key], name, key, atoms)
    differs_from_calculator = False
    if key.startswith("REF_") and results.get(name) is not None:
        result = _shaped(results[name], name, name, atoms)
        differs_from_calculator = not np.allclose(result, value, rtol=1e-8, atol=1e-6)
    masked = None
    if name == "stress" and np.isnan(value).any():
        along = np.isfinite(value.diagonal())
        if along.any() and (np.isfinite(value) == np.logical_and.outer(along, along)).all():
            masked = np.isnan(value)  # across a surface, where it is not defined
    return Label(value, key, differs_from_calculator, masked=masked)


def has_label(atoms: ase.Atoms, name: str, key: str | None = None) -> bool:
    """True if there is a value that :func:`find_label` would read."""
    return _locate(atoms, name, key)[0] is not None


def _locate(atoms: ase.Atoms, name: str, key: str | None) -> tuple[Mapping[str, Any] | None, str]:
    """The mapping that holds a label, and its key; None without one."""
    if name == "stress" and not has_volume(atoms):
        return None, ""
    holders = (atoms.info, atoms.arrays, {} if atoms.calc is None else atoms.calc.results)
    for each in KEYS[name] if key is None else (key,):
        for holder in reversed(holders) if each == name else holders:
            if holder.get(each) is not None:
                return holder, each
    return None, ""


def _check_results(atoms: ase.Atoms) -> None:
    """Raises ValueError if the calculator's results are for another structure.

    Atoms that were wrapped, or all moved by the same vector, are the same structure.
    """
    computed = getattr(atoms.calc, "atoms", None)
    if computed is None:
        return
    same = np.array_equal(computed.numbers, atoms.numbers)
    same = same and abs(computed.cell[atoms.pbc] - atoms.cell[atoms.pbc]).max(initial=0) < STILL
    if same:
        moved = atoms.positions - computed.positions
        if abs(moved).max(initial=0) > STILL and atoms.pbc.any():
            moved = find_mic(moved - moved[0], atoms.cell, atoms.pbc)[0]
        same = abs(moved - moved.mean(axis=0)).max(initial=0) < STILL
    if not same:
        raise ValueError(
            "the calculator has results for other positions than the structure; compute them "
            "again, or keep them with each structure "
            "(ase.calculators.singlepoint.SinglePointCalculator)"
        )


def without_labels(atoms: ase.Atoms) -> ase.Atoms:
    """Returns a copy without a calculator, labels and weights of labels.

    Labels are the usual keys of :func:`find_label` and all that begin with REF_, but for fields.
    """
    copy = atoms.copy()
    for holder in (copy.info, copy.arrays):
        for key in [*holder]:
            is_reference = str(key).startswith("REF_") and key not in FIELDS
            if is_reference or key in _COMPUTED | _WEIGHTS:
                del holder[key]
    return copy


def copy_results(atoms: ase.Atoms, keys: LabelKeys) -> None:
    """Copies the results of a calculator to the label keys of a run.

    A value that a structure has there is replaced, or removed if there is no such result.
    """
    for name in NAMES:
        key = getattr(keys, name)
        if key is None or key == name:
            continue
        for holder in (atoms.info, atoms.arrays):
            holder.pop(key, None)
        if name in atoms.calc.results:
            holder = atoms.arrays if name == "forces" else atoms.info
            holder[key] = atoms.calc.results[name]


def suggestions(structures: Iterable[ase.Atoms], name: str, key: str | None) -> list[str]:
    """Keys in the structures that fit the label `name`, those most like it or `key` first."""
    fitting = set()
    for atoms in structures:
        results = {} if atoms.calc is None else atoms.calc.results
        for each, value in (atoms.info | atoms.arrays | results).items():
            if each not in fitting and _fits(atoms, value, str(each), name):
                fitting.add(str(each))
    wanted = [each.lower() for each in (*KEYS[name], key or name)]
    likeness = {each: max(_likeness(each.lower(), want) for want in wanted) for each in fitting}
    near = [each for each in fitting if likeness[each] > 0.6]
    return sorted(near, key=lambda each: (-likeness[each], each))[:_SHOWN]


def _likeness(key: str, wanted: str) -> float:
    """1 for the same name, more than 0.6 for one that contains it."""
    ratio = difflib.SequenceMatcher(None, key, wanted).ratio()
    return 0.6 + 0.4 * ratio if wanted in key else ratio


def _fits(atoms: ase.Atoms, value: Any, key: str, name: str) -> bool:
    if key in _NOT_LABELS:
        return False
    try:
        _shaped(value, name, key, atoms)
    except ValueError:
        return False
    return True


def _shaped(value: Any, name: str, key: str, atoms: ase.Atoms) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError as error:  # lists of unequal lengths
        raise ValueError(f"{key} is {_short(value)}; expected numbers") from error
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{key} is {_short(value)}; expected numbers")
    shape = SHAPES[name](len(atoms))
    squeezed = array.astype(np.float64).squeeze()
    if name == "stress" and squeezed.shape == (6,):
        squeezed = voigt_6_to_full_3x3_stress(squeezed)
    if name == "stress" and squeezed.shape == (9,):
        squeezed = squeezed.reshape(3, 3)
    if squeezed.shape != tuple(length for length in shape if length != 1):
        also = ", (6,) or (9,)" if name == "stress" else ""
        raise ValueError(f"{key} has shape {array.shape}; expected {shape}{also}")
    if name == "stress" and "virial" in key.lower():
        squeezed = -squeezed / atoms.get_volume()
    return squeezed.reshape(shape)


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 40 else f"{text[:37]}..."
