"""Weights of labels, and labels that are none: those of weight 0, and zeros of frozen atoms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import ase
import numpy as np
from ase.constraints import FixAtoms, FixCartesian, FixedLine, FixedPlane, FixScaled

from .labels import WEIGHT_KEYS, WEIGHT_KEYS_OF_ATOMS, Label

OF_STRUCTURE = "config_weight"  # in atoms.info
# True means that an atom counts to some, and that it is left out to others, such as GAP.
AMBIGUOUS = ("force_mask", "mask", "masks")
FROZEN = "constraints"
NO_FORCE = 1e-9  # eV/Å; files hold fewer digits

_BY_COMPONENT = (FixAtoms, FixCartesian, FixScaled, FixedPlane, FixedLine)
_PROBE = np.array([1.0, 1.7, 2.3])  # a force that no usual constraint makes zero by chance


class LeftOut(NamedTuple):
    """A label of a structure, or a part of it, that does not count."""

    label: str
    why: str  # the key of its weight 0, or FROZEN
    components: int | None  # of forces; None: the label as a whole


def weigh(
    atoms: ase.Atoms, name: str, label: Label, key: str | None = None
) -> tuple[Label | None, list[LeftOut]]:
    """Weights a label of a structure, with NaN for what does not count.

    That are values of weight 0, and force components that are exactly zero because a constraint of
    the structure holds the atom: they say nothing about the energy.

    Args:
        name: "energy", "forces" or "stress".
        key: of the weights of atoms; None: the usual (`WEIGHT_KEYS_OF_ATOMS`).

    Returns:
        The label with its weight, None if nothing of it counts; and what does not.

    Raises:
        ValueError: for weights that are not finite numbers, or less than 0; for a mask whose
            meaning is not certain.
    """
    weight, zero = _weight_of_structure(atoms, name, label.key)
    if zero is not None:
        return None, [LeftOut(name, zero, None)]
    label = label._replace(weight=weight)
    if name != "forces":
        return label, []
    weights, keys = _weights_of_atoms(atoms, key)
    frozen = _frozen_zeros(atoms, label.value)
    if weights is None and frozen is None:
        return label, []
    weights = np.ones_like(label.value) if weights is None else weights
    masked = weights == 0
    left_out = [LeftOut(name, keys, int(masked.sum()))] if masked.any() else []
    if frozen is not None and (frozen & ~masked).any():
        left_out.append(LeftOut(name, FROZEN, int((frozen & ~masked).sum())))
        masked = masked | frozen
    if masked.all():
        return None, left_out
    counting = weights[~masked]
    uniform = (counting == counting[0]).all()
    return label._replace(
        value=np.where(masked, np.nan, label.value),
        weight=weight * (float(counting[0]) if uniform else weights),
        masked=masked if masked.any() else None,
    ), left_out


def has_weights_of_atoms(atoms: ase.Atoms, key: str) -> bool:
    """True if a structure has weights of its atoms under this key."""
    return any(holder.get(key) is not None for holder in (atoms.arrays, atoms.info))


def _weight_of_structure(atoms: ase.Atoms, name: str, key: str) -> tuple[float, str | None]:
    """The weight of a label in its structure, and the key of a weight of 0.

    A virial has its own key first; the key of the stress is that of the virial without one.
    """
    given = [each for each in WEIGHT_KEYS[name] if atoms.info.get(each) is not None]
    given.sort(key=lambda each: ("virial" in each) != ("virial" in key.lower()))
    keys = [OF_STRUCTURE] if atoms.info.get(OF_STRUCTURE) is not None else []
    weight = 1.0
    for each in [*keys, *given[:1]]:
        factor = _checked(atoms.info, each, ((),))
        if not factor:
            return 0.0, each
        weight *= float(factor)
    return weight, None


def _weights_of_atoms(atoms: ase.Atoms, key: str | None) -> tuple[np.ndarray | None, str]:
    """The weights [N, 3] of force components, and their keys; None without any."""
    n_atoms = len(atoms)
    weights, found = np.ones((n_atoms, 3)), []
    for each in WEIGHT_KEYS_OF_ATOMS if key is None else (key,):
        if has_weights_of_atoms(atoms, each):
            holder = atoms.arrays if each in atoms.arrays else atoms.info
            factor = _checked(holder, each, ((n_atoms,), (n_atoms, 1), (n_atoms, 3), ()))
            if each == "forces_mask" and not np.isin(factor, (0.0, 1.0)).all():
                raise ValueError("forces_mask holds numbers; expected true (counts) or false")
            weights = weights * (factor.reshape(n_atoms, -1) if factor.ndim else factor)
            found.append(each)
    if key is None:
        _refuse_ambiguous(atoms)
    return weights if found else None, " and ".join(found)


def _refuse_ambiguous(atoms: ase.Atoms) -> None:
    for key in (key for key in AMBIGUOUS if key in atoms.arrays):
        mask = np.asarray(atoms.arrays[key])
        if np.isin(mask, (False, True)).all() and not mask.all():
            raise ValueError(
                f"{key}: some programs leave out the forces where it is true (GAP), others those "
                f"where it is false. Call it forces_mask or name it (forces_weight_key: {key}) if "
                "forces count where it is true, or rename it if it is no mask of forces"
            )


def _checked(
    holder: Mapping[str, Any], key: str, shapes: tuple[tuple[int, ...], ...]
) -> np.ndarray:
    """Weights, float64, of one of the shapes."""
    value = np.asarray(holder[key])
    if shapes == ((),) and value.size == 1:
        value = value.reshape(())
    if value.dtype.kind not in "biuf" or value.shape not in shapes:
        what = value.tolist() if value.size == 1 else f"of shape {value.shape}"
        wanted = " or ".join(map(str, shapes)) if shapes != ((),) else "one number"
        raise ValueError(f"{key} is {what!r}; expected {wanted}: weights, at least 0")
    value = value.astype(np.float64)
    wrong = value[~(np.isfinite(value) & (value >= 0))]
    if wrong.size:
        raise ValueError(f"{key} is {wrong[0]:g}; expected finite weights, at least 0")
    return value


def _frozen_zeros(atoms: ase.Atoms, forces: np.ndarray) -> np.ndarray | None:
    """Mask [N, 3] of components that constraints hold and that are zero, but for rounding errors
    such as those of a rotation; None without any.

    If another held component of an atom is not zero, its forces are those before the constraint
    was applied, and all of them count.
    """
    zero = abs(forces) < NO_FORCE
    if not atoms.constraints or not zero.any():
        return None
    held = _held_components(atoms)
    unchanged = (held & ~zero).any(axis=1, keepdims=True)
    frozen = held & ~unchanged
    return frozen if frozen.any() else None


def _held_components(atoms: ase.Atoms) -> np.ndarray:
    """Mask [N, 3] of the force components that constraints set to zero."""
    probe = np.tile(_PROBE, (len(atoms), 1))
    for constraint in atoms.constraints:
        if isinstance(constraint, _BY_COMPONENT):
            constraint.adjust_forces(atoms, probe)
        elif hasattr(constraint, "get_indices") and hasattr(constraint, "get_removed_dof"):
            indices = constraint.get_indices()
            if len(indices) and constraint.get_removed_dof(atoms) == 3 * len(indices):
                probe[indices] = 0.0
    return abs(probe) < 1e-9
