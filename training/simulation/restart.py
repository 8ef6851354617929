"""Restart files: the state of a simulation, from which it goes on as if it had not stopped."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ase
import numpy as np
from ase.constraints import FixBondLengths
from ase.io.jsonio import encode
from ase.md.langevinbaoab import LangevinBAOAB
from ase.md.md import MolecularDynamics
from safetensors.numpy import load, save

from sikff.atomic_write import complete

from .barostats import FlexibleCell
from .settings import MDSettings
from .surface import conditions_of
from .thermostats import NoseHooverChain

FORMAT = "sikff restart, version 1"
MAY_DIFFER = {"steps", "restart_every"}
OPAQUE = ("atoms", "models")  # digests, which say nothing to a reader
# What integrators carry from step to step, besides atoms and generator.
CARRIED: Mapping[type[MolecularDynamics], tuple[str, ...]] = {
    LangevinBAOAB: ("p_eps", "force_eps"),
    FlexibleCell: ("diffusion",),
    NoseHooverChain: ("eta", "p_eta"),
}


class State(NamedTuple):
    """A simulation after a step.

    Attributes:
        step: how many were done.
        arrays: positions, momenta and cell; lengths of bonds that are kept; variables of the
            integrator.
        generator: state of the random generator.
        calculator: its history, see :meth:`~sikff.calculators.SIKFFCalculator.resume`.
    """

    step: int
    arrays: dict[str, np.ndarray]
    generator: dict[str, Any]
    calculator: dict[str, Any] | None


def state_of(dynamics: MolecularDynamics, rng: np.random.Generator) -> State:
    """The present state of a simulation, between two steps."""
    atoms = dynamics.atoms
    arrays = {
        "positions": atoms.positions.copy(),
        "momenta": atoms.get_momenta(),
        "cell": atoms.cell.array.copy(),
    }
    for k, bonds in enumerate(_bonds(atoms)):
        if bonds.bondlengths is not None:
            arrays[f"bonds.{k}"] = np.array(bonds.bondlengths)
    for name in CARRIED.get(type(dynamics), ()):
        arrays[f"integrator.{name}"] = np.array(getattr(dynamics, name), dtype=float)
    history = getattr(atoms.calc, "history", None)
    return State(dynamics.nsteps, arrays, dict(rng.bit_generator.state), history)


def restore_atoms(atoms: ase.Atoms, state: State) -> None:
    """Sets atoms, and what their calculator and constraints remember, to a state."""
    atoms.set_cell(state.arrays["cell"])
    atoms.positions[:] = state.arrays["positions"]
    atoms.set_array("momenta", state.arrays["momenta"].copy())
    for k, bonds in enumerate(_bonds(atoms)):
        bonds.bondlengths = state.arrays.get(f"bonds.{k}")
    if state.calculator is not None:
        atoms.calc.resume(state.calculator)


def restore_integrator(dynamics: MolecularDynamics, rng: np.random.Generator, state: State) -> None:
    """Sets an integrator, whose atoms are in the state, and its random generator to the state."""
    dynamics.nsteps = state.step
    rng.bit_generator.state = state.generator
    for name in CARRIED.get(type(dynamics), ()):
        value = state.arrays[f"integrator.{name}"]
        setattr(dynamics, name, value.copy() if value.ndim else float(value))


def identity_of(
    atoms: ase.Atoms, settings: MDSettings, files: Mapping[str, Path | None], folder: Path
) -> dict[str, Any]:
    """What two runs have in common of which one may go on where the other one stopped.

    Args:
        files: that the run appends to, by their option; as seen from the `folder`.
    """
    compared = set(MDSettings.model_fields) - MAY_DIFFER
    identity = settings.model_dump(mode="json", include=compared)
    numbers = (atoms.numbers.astype(np.int64), atoms.get_masses(), atoms.pbc)
    identity["atoms"] = _digest(*numbers)
    identity["constraints"] = [_text(each) for each in atoms.constraints]
    models = getattr(atoms.calc, "models", ())
    identity["calculator"] = type(atoms.calc).__name__
    identity["conditions"] = str(tuple(conditions_of(atoms))) if models else None
    identity["models"] = [
        _digest(*(weight.detach().cpu().numpy() for weight in model.parameters()))
        for model in models
    ]
    for option, path in files.items():
        identity[option] = None if path is None else os.path.relpath(path, folder)
    return identity


def write_restart(path: Path, state: State, identity: Mapping[str, Any]) -> None:
    """Replaces a restart file.

    Raises:
        OSError: if it cannot be written; the earlier one stays.
    """
    words = state._replace(arrays={})._asdict() | {"identity": identity}
    content = save(state.arrays, {"format": FORMAT, "state": json.dumps(words)})
    with complete(path) as temporary:
        temporary.write_bytes(content)


def read_restart(path: Path, identity: Mapping[str, Any]) -> State:
    """Reads a restart file of a run with this identity.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is damaged, or of a run with other settings, atoms or models.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"no restart file {str(path)!r} to continue from; start the run without --continue"
        )
    content = path.read_bytes()
    try:
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length]).get("__metadata__", {})
        words = json.loads(header["state"]) if header["format"] == FORMAT else {}
        arrays = load(content)
        state = State(words["step"], arrays, words["generator"], words["calculator"])
        then: dict[str, Any] = words["identity"]
    except Exception as error:  # of safetensors, json and missing keys
        raise ValueError(f"{str(path)!r} is no whole {FORMAT}") from error
    differences = [
        f"other {name}" if name in OPAQUE else f"{name} {then.get(name)}, not {identity.get(name)}"
        for name in {**then, **identity}
        if then.get(name) != identity.get(name)
    ]
    if differences:
        raise ValueError(
            f"{str(path)!r} is of a run with {'; '.join(differences)}. Continue with the same "
            f"arguments ({', '.join(sorted(MAY_DIFFER))} may differ), or start a new run"
        )
    return state


def _bonds(atoms: ase.Atoms) -> list[FixBondLengths]:
    return [each for each in atoms.constraints if isinstance(each, FixBondLengths)]


def _text(constraint: Any) -> str:
    name = type(constraint).__name__
    return encode(constraint.todict()) if hasattr(constraint, "todict") else name


def _digest(*arrays: np.ndarray) -> str:
    found = hashlib.sha256()
    for array in arrays:
        found.update(str((array.dtype, array.shape)).encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()
