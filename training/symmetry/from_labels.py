"""The symmetry of labelled structures, measured by their torques.

The energy is the same after a rotation about w if and only if w . torque = 0, with the torque
sum_i (r_i - r_c) x F_i of the labelled forces: no model is needed. (Where only a direction is
singled out, by a field or a flat wall, the component along it does not depend on the point r_c.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sikff.groups import SymmetryGroup

from ..data.check_labels import check_names
from ..data.labels import USUAL_KEYS, LabelKeys, suggestions
from ..data.structures import Structures
from .candidates import (
    DATA_GROUPS,
    TRIVIAL,
    Report,
    judge_candidates,
    sort_by_size,
    write_group_notes,
)
from .copies import Copy, compute_copy_defect, find_copies
from .findings import Findings
from .lie import NEAR, Defect, LieMatrix, Z, angle_between, find_axis, write_axis_notes
from .settings import SearchSettings
from .trials import make_force_field_trainer

Array = np.ndarray

NET_FORCE = 1e-2  # relative size above which the sum of forces is not rounding
SAME_LINE = 1e-6  # sine of the angle between fields along one line


def find_symmetry_of_labels(
    structures: Structures,
    search: SearchSettings,
    keys: LabelKeys = USUAL_KEYS,
    report: Report = lambda line: None,
) -> Findings:
    """The symmetry of the energy of labelled structures in an environment that is not rotated.

    Raises:
        ValueError: labels that are missing, periodic structures without an axis or trainings, or
            too few orientations.
    """
    labels = ["energy", "forces"] if search.minutes else ["forces"]
    structures = structures.with_labels(keys, labels)
    check_names([structures])
    _check_have_forces(structures)
    structures.check_labels_complete(["forces"])
    forces = structures.values("forces")
    partly = [index for index, force in enumerate(forces) if np.isnan(force).any()]
    structures.raise_for(partly, "some forces do not count (weights, constraints)")
    source = f"{structures.source}: {len(structures)} structures with forces"
    fields = np.array([structure.conditions.field for structure in structures])
    directions = find_field_directions(fields)
    if len(directions) > 1:
        return _find_symmetry_in_varied_fields(structures, fields, search.threshold, source)
    lie = None
    if not any(atoms.pbc.any() for atoms in structures.atoms):
        torques, size = compute_torques(structures)
        lie = LieMatrix.of_derivatives(torques.T, size, search.threshold)
    elif search.axis is None or not search.minutes:
        raise ValueError(
            f"{structures.source} holds periodic structures, in which no torque is defined: give "
            "the axis, and minutes for trainings. (O(3) is right if nothing outside the structures "
            "acts on them)"
        )
    axis = find_axis(lie, search.axis, directions)
    names = sort_by_size(search.groups or DATA_GROUPS)
    environment: dict[str, Any] = {}
    if len(directions) and angle_between(axis, directions[0]) < NEAR:
        environment["field"] = True
    if search.plane_origin is not None:
        environment["plane_origin"] = list(search.plane_origin)

    conditions = [structure.conditions for structure in structures]
    varied = {"charge": {c.charge for c in conditions}, "spin": {c.unpaired for c in conditions}}
    electrons = {key: True for key, values in varied.items() if len(values) > 1}

    def model_settings(name: str) -> dict[str, Any]:
        """Of a model, which reads the environment if its group leaves the axis unchanged."""
        settings = {"group": name, "axis": axis.tolist()}
        change = abs(SymmetryGroup(name, axis).generators @ axis - axis).max()
        read = electrons | (environment if change < 1e-6 else {})
        return settings | ({"environment": read} if read else {})

    trainer = None
    if search.minutes:
        trainer = make_force_field_trainer(
            structures, names, model_settings, minutes=search.minutes, seed=search.seed
        )
    net_force = _relative_net_force(forces)
    varying = None
    if search.plane_origin is not None:
        varying = axis[None]
    elif net_force > NET_FORCE:  # of an environment at an unknown place
        varying = np.eye(3)
    copies = find_copies(structures, forces, varying)
    defects, copy_defects = {}, {}
    for name in names:
        group = SymmetryGroup(name, axis)
        if lie is not None and group.lie_dimension:
            defects[name] = lie.defects[2] if group.lie_dimension == 3 else lie.defect_about(axis)
        by_group = [copy for copy in copies if copy.is_by(group)]
        if by_group:
            copy_defects[name] = compute_copy_defect(by_group, search.threshold)
    chosen, candidates = judge_candidates(names, defects, trainer, report, copy_defects)
    group = SymmetryGroup(chosen, axis)
    mirrored = any(np.linalg.det(copy.matrix) < 0 and copy.is_by(group) for copy in copies)
    notes = [
        *write_axis_notes(lie, axis),
        *_write_environment_notes(net_force, directions, environment, copies),
        *write_group_notes(candidates, chosen, mirrored),
    ]
    read = model_settings(chosen).get("environment", {})
    quantity = "mean absolute force error (meV/Å)"
    return Findings(source, chosen, axis, candidates, lie, read, notes, quantity)


def _check_have_forces(structures: Structures) -> None:
    """Raises ValueError with advice that suits a search for symmetry, not a training."""
    without = [index for index, each in enumerate(structures) if "forces" not in each.labels]
    near = suggestions(structures.atoms, "forces", structures.keys.forces)
    keys = f" (--forces-key {' or '.join(near)}?)" if near else ""
    structures.raise_for(
        without, "no forces", f"; the symmetry is found in forces: give them to all{keys}"
    )


def find_field_directions(fields: Array) -> Array:
    """Unit vectors of the non-zero fields, [m, 3]; a single one if all are along one line."""
    sizes = np.linalg.norm(fields, axis=1)
    directions = fields[sizes > 0] / sizes[sizes > 0, None]
    sines = np.linalg.norm(np.cross(directions, directions[:1]), axis=1)
    return directions if (sines > SAME_LINE).any() else directions[:1]


def compute_torques(structures: Structures) -> tuple[Array, float]:
    """Torques [n, 3] about the centroids (eV), and the mean of sum_i |r_i - r_c|^2 |F_i|^2.

    Forces of random directions have torques of about that size.

    Raises:
        ValueError: naming the periodic structures, whose torque is not defined.
    """
    periodic = [index for index, atoms in enumerate(structures.atoms) if atoms.pbc.any()]
    structures.raise_for(periodic, "periodic cells, in which no torque is defined,")
    torques, sizes = [], []
    for atoms, force in zip(structures.atoms, structures.values("forces"), strict=True):
        arms = atoms.positions - atoms.positions.mean(axis=0)
        torques.append(np.cross(arms, force).sum(axis=0))
        sizes.append((arms**2).sum(axis=1) @ (force**2).sum(axis=1))
    return np.array(torques), float(np.mean(sizes))


def _find_symmetry_in_varied_fields(
    structures: Structures, fields: Array, threshold: float, source: str
) -> Findings:
    """Of structures in electric fields along several lines, by rotations about these fields."""
    torques, size = compute_torques(structures)
    strong = np.linalg.norm(fields, axis=1) > 0
    along = (torques[strong] * fields[strong]).sum(axis=1) / np.linalg.norm(fields[strong], axis=1)
    defects = {
        "O(3)": Defect.of_squares(float((along**2).mean() / size), 0.0, threshold),
        TRIVIAL: Defect(0.0, threshold),
    }
    chosen, candidates = judge_candidates([*defects], defects)
    note = (
        "electric fields point along several lines: looked at were rotations about the field of "
        "each structure. Atoms and field are rotated together, so the field is a vector attribute"
    )
    return Findings(source, chosen, Z, candidates, None, {"field": True}, [note])


def _relative_net_force(forces: Sequence[Array]) -> float:
    """Root mean square of the sum of the forces on a structure, relative to the forces."""
    size = np.linalg.norm(np.concatenate(forces))
    return float(np.linalg.norm([force.sum(axis=0) for force in forces]) / size) if size else 0.0


def _write_environment_notes(
    net_force: float, directions: Array, environment: Mapping[str, Any], copies: Sequence[Copy]
) -> list[str]:
    """Notes on the electric field, on forces from outside and on copies."""
    notes = []
    if len(directions):
        shown = ", ".join(f"{x:.4f}" for x in directions[0])
        known = "axial models read it" if "field" in environment else "that is not the axis"
        notes.append(f"there is an electric field along [{shown}]: {known}")
    if net_force > NET_FORCE and "plane_origin" not in environment:
        notes.append(
            f"forces do not sum to zero ({net_force:.1e} of their size), so something outside "
            "holds the atoms; if that is a plane, give a point of it (--plane-origin)"
        )
    if copies:
        pairs = "pairs of structures that are rotated or mirrored copies"
        notes.append(f"{pairs}: {len(copies)} (column copies)")
    return notes
