"""The symmetry of labelled structures, measured by their torques.

The energy is the same after a rotation about w if and only if w . torque = 0, with the torque
sum_i (r_i - r_c) x F_i of the labelled forces: no model is needed. (Where only a direction is
singled out, by a field or a flat wall, the component along it does not depend on the point r_c.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sikff.groups import SymmetryGroup

from ..data.check_labels import check_names
from ..data.find_plane import NET_FORCE
from ..data.labels import USUAL_KEYS, LabelKeys, suggestions
from ..data.structures import Structures
from .above_surface import Surface, find_surface_of
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

AS_FLAT = 1.2  # times its defect, the limit of a flat surface in place of a corrugated one
SAME_LINE = 1e-6  # sine of the angle between fields along one line


def find_symmetry_of_labels(
    structures: Structures,
    search: SearchSettings,
    keys: LabelKeys = USUAL_KEYS,
    report: Report = lambda line: None,
) -> Findings:
    """The symmetry of the energy of labelled structures in an environment that is not rotated.

    Raises:
        ValueError: labels that are missing, periodic structures without a surface, axis or
            trainings, or too few orientations.
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
    surface = find_surface_of(structures, directions, search)
    lie = None
    if not any(atoms.pbc.any() for atoms in structures.atoms):
        torques, size = compute_torques(structures)
        lie = LieMatrix.of_derivatives(torques.T, size, search.threshold)
    elif surface is None and (search.axis is None or not search.minutes):
        raise ValueError(
            f"{structures.source} holds periodic structures, in which no torque is defined: give "
            "the axis, and minutes for trainings. (O(3) is right if nothing outside the structures "
            "acts on them; net forces, as of a surface, are not found)"
        )
    axis = find_axis(lie, search.axis, directions) if surface is None else surface.plane.normal
    names = sort_by_size(search.groups or DATA_GROUPS)
    environment = _environment(axis, directions, surface, search)
    electrons = _varied_electrons(structures)

    def model_settings(name: str) -> dict[str, Any]:
        """Of a model, which reads the environment if its group leaves the axis unchanged."""
        settings = {"group": name, "axis": axis.tolist()}
        change = abs(SymmetryGroup(name, axis).generators @ axis - axis).max()
        read = electrons | (environment if change < 1e-6 else {})
        return settings | ({"environment": read} if read else {})

    trainer = None
    if search.minutes and (surface is None or surface.slab is None):
        trainer = make_force_field_trainer(
            structures, names, model_settings, minutes=search.minutes, seed=search.seed
        )
    net_force = _relative_net_force(forces)
    varying = None
    if "plane_origin" in environment:
        varying = axis[None]
    elif net_force > NET_FORCE:  # of an environment at an unknown place
        varying = np.eye(3)
    is_corrugated = surface is not None and surface.is_corrugated
    copies = [] if is_corrugated else find_copies(structures, forces, varying)
    defects = _measure_defects(names, axis, lie, surface, search.threshold)
    copy_defects = {}
    for name in names:
        candidate = SymmetryGroup(name, axis)
        by_group = [copy for copy in copies if copy.is_by(candidate)]
        if by_group:
            copy_defects[name] = compute_copy_defect(by_group, search.threshold)
    chosen, candidates = judge_candidates(names, defects, trainer, report, copy_defects)
    group = SymmetryGroup(chosen, axis)
    mirrored = any(np.linalg.det(copy.matrix) < 0 and copy.is_by(group) for copy in copies)
    of_group = write_group_notes(candidates, chosen, mirrored)
    notes = _write_environment_notes(net_force, directions, environment, copies)
    if surface is None:
        notes = [*write_axis_notes(lie, axis), *notes, *of_group]
    else:
        notes += [*surface.notes, *(of_group if surface.point_group is None else ())]
    read = model_settings(chosen).get("environment", {})
    quantity = "mean absolute force error (meV/Å)"
    vacuum_group = "O(3)" if surface is not None and "plane_origin" in read else None
    found = Findings(
        *(source, chosen, axis, candidates, lie, read, notes, quantity), vacuum_group=vacuum_group
    )
    if surface is None or surface.point_group is None:
        return found
    return _with_places(found, surface.point_group, electrons | environment)


def _with_places(found: Findings, group: str, environment: Mapping[str, Any]) -> Findings:
    """The findings for a flat surface as those for one with places and their group."""
    verdicts = {"use": "flat", "part of it": "", group: "use"}
    candidates = tuple(
        replace(each, verdict=verdicts.get(each.group, verdicts.get(each.verdict, each.verdict)))
        for each in found.candidates
    )
    return replace(
        found, group=group, candidates=candidates, environment=environment, vacuum_group="O(3)"
    )


def _environment(
    axis: Array, directions: Array, surface: Surface | None, search: SearchSettings
) -> dict[str, Any]:
    """What axial models read of the surroundings, as in ``model.environment``."""
    environment: dict[str, Any] = {}
    if len(directions) and angle_between(axis, directions[0]) < NEAR:
        environment["field"] = True
    if surface is not None:
        environment |= surface.environment
    elif search.plane_origin is not None:
        environment["plane_origin"] = list(search.plane_origin)
    return environment


def _varied_electrons(structures: Structures) -> dict[str, Any]:
    """Which of charge and spin differ between structures, as in ``model.environment``."""
    conditions = [structure.conditions for structure in structures]
    varied = {"charge": {c.charge for c in conditions}, "spin": {c.unpaired for c in conditions}}
    return {key: True for key, values in varied.items() if len(values) > 1}


def _measure_defects(
    names: Sequence[str],
    axis: Array,
    lie: LieMatrix | None,
    surface: Surface | None,
    threshold: float,
) -> dict[str, Defect]:
    """Of the groups with continuous rotations: by torques, or by net forces where periodic
    structures have none. Above a corrugated surface axial groups count as unbroken."""
    defects = {}
    for name in names:
        dimension = SymmetryGroup(name, axis).lie_dimension
        if not dimension:
            continue
        if lie is not None:
            defect = lie.defects[2] if dimension == 3 else lie.defect_about(axis)
        elif surface is not None:
            plane = surface.plane
            defect = Defect(plane.net_force if dimension == 3 else plane.corrugation, threshold)
        else:
            continue
        if surface is not None and surface.is_corrugated and dimension == 1:
            defect = defect._replace(limit=max(threshold, AS_FLAT * defect.size))
        defects[name] = defect
    return defects


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
