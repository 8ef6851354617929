"""Where files keep labels, under which names, and in which shapes."""

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

# In the order in which they are tried.
KEYS = {
    "energy": ("REF_energy", "energy"),
    "forces": ("REF_forces", "forces"),
    "stress": ("REF_stress", "REF_virials", "REF_virial", "stress", "virials", "virial"),
}
SHAPES: dict[str, Callable[[int], tuple[int, ...]]] = {  # by the number of atoms
    "energy": lambda n_atoms: (),
    "forces": lambda n_atoms: (n_atoms, 3),
    "stress": lambda n_atoms: (3, 3),
}
STILL = 1e-6  # Å; results are for other positions if these have moved further
_NOT_LABELS = {"positions", "momenta", "numbers", "initial_magmoms", *CONDITIONS}
_COMPUTED = {"free_energy", "energies", "stresses", "dipole", "energy_std", "forces_std"}
_COMPUTED |= {key for keys in KEYS.values() for key in keys}
_SHOWN = 4  # names suggested in an error


class Label(NamedTuple):
    """A label, and what the file calls it."""

    value: np.ndarray
    key: str
    overrules: bool  # the calculator of the frame says something else


def find_label(atoms: ase.Atoms, name: str, key: str | None = None) -> Label | None:
    """The label `name` ("energy", "forces" or "stress") of a frame, or None if there is none.

    It is looked for under `key`, or else under REF_<name>, then among the results of the frame's
    calculator, where ASE puts what a file calls energy, forces or stress, and then under its
    plain name. A virial becomes a stress, -virial / volume. Without a volume there is no stress,
    whatever the file says.

    Returns:
        the label in eV [], eV/Å [N, 3] or eV/Å^3 [3, 3], float64, as far as the file is in eV, Å.

    Raises:
        ValueError: if what is there has another shape, is not made of numbers, or was computed
            for other positions.
    """
    place, found = _place(atoms, name, key)
    if place is None:
        return None
    results = {} if atoms.calc is None else atoms.calc.results
    if place is results:
        _check_results(atoms)
    value = _shaped(place[found], name, found, atoms)
    overrules = False
    if found.startswith("REF_") and results.get(name) is not None:
        own = _shaped(results[name], name, name, atoms)
        overrules = not np.allclose(own, value, rtol=1e-8, atol=1e-6)
    return Label(value, found, overrules)


def has_label(atoms: ase.Atoms, name: str, key: str | None = None) -> bool:
    """Whether there is something that :func:`find_label` would look at."""
    return _place(atoms, name, key)[0] is not None


def _place(atoms: ase.Atoms, name: str, key: str | None) -> tuple[Mapping[str, Any] | None, str]:
    """Where a label is, and under which name; None if it is nowhere."""
    if name == "stress" and not has_volume(atoms):
        return None, ""
    places = (atoms.info, atoms.arrays, {} if atoms.calc is None else atoms.calc.results)
    for each in KEYS[name] if key is None else (key,):
        for place in reversed(places) if each == name else places:
            if place.get(each) is not None:
                return place, each
    return None, ""


def _check_results(atoms: ase.Atoms) -> None:
    """Refuses results of a calculator that were computed for something else.

    Atoms that were wrapped, or all moved by the same, are the same structure.
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
    """A copy without a calculator and without labels: what was computed for these positions.

    Labels are all that :func:`find_label` knows or begins with REF_, but for fields.
    """
    found = atoms.copy()
    for place in (found.info, found.arrays):
        for key in [*place]:
            is_reference = str(key).startswith("REF_") and key not in FIELDS
            if is_reference or key in _COMPUTED:
                del place[key]
    return found


def add_names(atoms: ase.Atoms, keys: Mapping[str, str | None]) -> None:
    """Keeps the results of a calculator under further names too, for runs that read labels there.

    Args:
        keys: the further name, or None, of "energy", "forces" and "stress". What a structure has
            there is replaced, or removed if there is no such result.
    """
    for name, key in keys.items():
        if key is None or key == name:
            continue
        for place in (atoms.info, atoms.arrays):
            place.pop(key, None)
        if name in atoms.calc.results:
            place = atoms.arrays if name == "forces" else atoms.info
            place[key] = atoms.calc.results[name]


def suggestions(frames: Iterable[ase.Atoms], name: str, key: str | None) -> list[str]:
    """Names in the frames that could be the label `name`, those most like it or `key` first."""
    found = set()
    for atoms in frames:
        results = {} if atoms.calc is None else atoms.calc.results
        for each, value in (atoms.info | atoms.arrays | results).items():
            if each not in found and _fits(atoms, value, str(each), name):
                found.add(str(each))
    wanted = [each.lower() for each in (*KEYS[name], key or name)]
    likeness = {each: max(_likeness(each.lower(), want) for want in wanted) for each in found}
    near = sorted((each for each in found if likeness[each] > 0.6), key=lambda e: (-likeness[e], e))
    return near[:_SHOWN]


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
