"""Labelled structures: their torques tell the symmetry.

The energy is the same after a turn about w if and only if w . torque = 0, with the torque
sum_i (r_i - r_c) x F_i of the labelled forces: no model is needed. (Where only a direction is
singled out, by a field or a flat wall, the component along it does not depend on the point r_c.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..data.labels import USUAL_KEYS, LabelKeys
from ..data.structures import Structures
from .axes import NEAR, Z, angle, electric_fields, field_directions
from .candidates import OF_DATA, TRIVIAL, about, by_size, keeps
from .copies import Copy, copies, defect_of_copies
from .findings import Candidate, Findings, findings
from .judge import Report, find_axis, judge, notes_on_axis, notes_on_groups
from .lie import LieMatrix, lie_matrix
from .settings import Search
from .trials import check_trainable, force_field_trainings

Array = np.ndarray

NET_FORCE = 1e-2  # relative size above which the sum of forces is not rounding


def of_labels(
    frames: Structures,
    search: Search,
    keys: LabelKeys = USUAL_KEYS,
    report: Report = lambda line: None,
) -> Findings:
    """The symmetry of the energy of labelled structures, whose surroundings stay where they are.

    Raises:
        ValueError: labels that are missing, periodic structures without an axis or trainings, or
            orientations that do not tell.
    """
    frames = frames.with_labels(keys, ["energy", "forces"] if search.minutes else ["forces"])
    frames.check_labels_complete(["forces"])
    forces = frames.values("forces")
    source = f"{frames.source}: {len(forces)} structures with forces"
    directions = field_directions(electric_fields(frames))
    if len(directions) > 1:
        return _of_fields_apart(frames, forces, search.threshold, source)
    lie = None
    if not any(atoms.pbc.any() for atoms in frames.atoms):
        lie = lie_matrix_of_labels(frames, forces, search.threshold)
    elif search.axis is None or not search.minutes:
        raise ValueError(
            f"{frames.source} holds periodic structures, in which no torque is defined: give the "
            "axis, and minutes for trainings. (O(3) is right if nothing outside the structures "
            "acts on them)"
        )
    axis, names = find_axis(lie, search, directions), by_size(search.groups or OF_DATA)
    if search.minutes:
        check_trainable(names)
    environment: dict[str, Any] = {}
    if len(directions) and angle(axis, directions[0]) < NEAR:
        environment["field"] = True
    if search.plane_origin is not None:
        environment["plane_origin"] = list(search.plane_origin)
    train = None
    if search.minutes:
        frames.check_labels_complete(["energy"])
        train = force_field_trainings(
            frames,
            lambda name: _settings(name, axis, environment),
            minutes=search.minutes,
            seed=search.seed,
        )
    pull = _pull(forces)
    felt = None
    if search.plane_origin is not None:
        felt = axis[None]
    elif pull > NET_FORCE:  # of something whose place is not known
        felt = np.eye(3)
    turned = copies(frames, forces, felt)
    defects, on_copies = {}, {}
    for name in names:
        group = about(name, axis)
        if lie is not None and group.lie_dimension:
            defects[name] = lie.defects[2] if group.lie_dimension == 3 else lie.defect(axis)
        seen = defect_of_copies(turned, group, search.threshold)
        if seen is not None:
            on_copies[name] = seen
    chosen, candidates = judge(names, defects, train, report, on_copies)
    notes = [
        *notes_on_axis(lie, axis),
        *_notes(pull, directions, environment, turned),
        *notes_on_groups(candidates, chosen, axis, turned),
    ]
    told = _settings(chosen, axis, environment).get("environment", {})
    quantity = "mean absolute force error (meV/Å)"
    return findings(source, chosen, axis, told, candidates, lie, notes, quantity)


def torques(frames: Structures, forces: Sequence[Array]) -> tuple[Array, float]:
    """Torques [n, 3] about the centroids (eV), and the mean of sum_i |r_i - r_c|^2 |F_i|^2.

    Forces that point anywhere would make torques of about that size.

    Raises:
        ValueError: naming the periodic frames, whose torque is not defined.
    """
    periodic = [place for place, atoms in enumerate(frames.atoms) if atoms.pbc.any()]
    frames.refuse(periodic, "periodic cells, in which no torque is defined,")
    found, sizes = [], []
    for atoms, force in zip(frames.atoms, forces, strict=True):
        arms = atoms.positions - atoms.positions.mean(axis=0)
        found.append(np.cross(arms, force).sum(axis=0))
        sizes.append((arms**2).sum(axis=1) @ (force**2).sum(axis=1))
    return np.array(found), float(np.mean(sizes))


def lie_matrix_of_labels(
    frames: Structures, forces: Sequence[Array], threshold: float
) -> LieMatrix:
    """M of the energy, from labelled forces (eV/Å).

    Raises:
        ValueError: periodic frames, or no forces but zeros.
    """
    found, size = torques(frames, forces)
    return lie_matrix(found.T, size, threshold)


def _settings(name: str, axis: Array, environment: Mapping[str, Any]) -> dict[str, Any]:
    """Of a model; it is told of the surroundings if its group keeps the axis."""
    settings = {"group": name, "axis": axis.tolist()}
    return {**settings, "environment": environment} if keeps(about(name, axis), axis) else settings


def _of_fields_apart(
    frames: Structures, forces: Sequence[Array], threshold: float, source: str
) -> Findings:
    """Of structures in electric fields along several lines: are turns about their own allowed?"""
    fields = electric_fields(frames)
    strong = np.linalg.norm(fields, axis=1) > 0
    found, size = torques(frames, forces)
    directions = fields[strong] / np.linalg.norm(fields[strong], axis=1, keepdims=True)
    along = np.einsum("na,na->n", found[strong], directions)
    defect = float(np.sqrt((along**2).mean() / size))
    kept = defect < threshold
    name = "O(3)" if kept else TRIVIAL
    candidates = (
        Candidate("O(3)", defect, None, None, None, "use" if kept else "broken"),
        Candidate(TRIVIAL, 0.0, None, None, None, "part of it" if kept else "use"),
    )
    note = (
        "electric fields point along several lines: looked at were turns about the field of each "
        "structure. Atoms and field are turned together, so the field is a vector attribute"
    )
    return findings(source, name, Z, {"field": True}, candidates, None, [note])


def _pull(forces: Sequence[Array]) -> float:
    """How large the sum of the forces on a structure is, against the forces."""
    total = sum(float((force.sum(axis=0) ** 2).sum()) for force in forces)
    size = sum(float((force**2).sum()) for force in forces)
    return float(np.sqrt(total / size)) if size else 0.0


def _notes(
    pull: float,
    directions: Array,
    environment: Mapping[str, Any],
    turned: Sequence[Copy],
) -> list[str]:
    """What the user should know of the surroundings."""
    notes = []
    if len(directions):
        shown = ", ".join(f"{x:.4f}" for x in directions[0])
        known = "axial models read it" if "field" in environment else "that is not the axis"
        notes.append(f"there is an electric field along [{shown}]: {known}")
    if pull > NET_FORCE and "plane_origin" not in environment:
        notes.append(
            f"forces do not sum to zero ({pull:.1e} of their size), so something outside holds the "
            "atoms; if that is a plane, give a point of it (--plane-origin)"
        )
    if turned:
        count = len(turned)
        notes.append(
            f"pairs of structures that are turned or mirrored copies: {count} (column copies)"
        )
    return notes
