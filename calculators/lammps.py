"""Force fields in LAMMPS, through its `fix external`, on one process or on many."""

from __future__ import annotations

import ctypes
import os
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, cast

import torch

from sikff.forcefield import EnergyModel, ForceField
from sikff.forcefield.committee import check_committee
from sikff.forcefield.model_file import chosen_dtype
from sikff.graph.conditions import KEYS, Conditions

from .lammps_forces import ENERGY_UNITS, LammpsForces, Stop
from .lammps_types import find_elements
from .prepare_models import chosen_device, cut_down, prepared

FIX = "sikff"


def attach(
    lmp: Any,
    model: str | Path | EnergyModel | Sequence[str | Path | EnergyModel],
    fix: str = FIX,
    *,
    elements: Sequence[str] | None = None,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype | None = None,
    skin: float = 0.8,
    stop: Stop | None = None,
    **conditions: Any,
) -> LammpsForces:
    """Makes a force field, or a committee of them, the forces of a LAMMPS instance.

    To be called by every process, once the box, the atom types and their masses are there. Energy
    and virial count in LAMMPS' pe and pressure, those of atoms in its computes pe/atom and
    stress/atom. Of a committee, ``f_sikff[1]`` is the standard deviation of the energy and
    ``f_sikff[2]`` the largest one of a force component. On several processes LAMMPS is told when
    to search its neighbours anew and how far copies of atoms reach; do not change that later.

    Args:
        lmp: a ``lammps.lammps``, with units metal or real.
        model: path of a model file, or a model, which is copied; for a committee several of these.
        fix: name of the fix external, which is made unless it exists.
        elements: chemical symbol of each atom type; None: as labels of types or masses say.
        device, dtype, skin: as in SIKFFCalculator.
        stop: called with the step and the exception after an error, must end all processes; None:
            :func:`stop_processes` after the traceback. LAMMPS itself would go on with the forces
            of an earlier step.
        **conditions: electric_field, surface_origin, surface, charge, spin: as in SIKFFCalculator.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: for other units, no box, types without an element or with one that the model
            does not know, conditions it does not read, or what is no model.
    """
    unknown = sorted(set(conditions) - set(KEYS))
    if unknown:
        raise ValueError(f"{', '.join(unknown)} is no condition; expected {', '.join(KEYS)}")
    units = lmp.extract_global("units")
    if units not in ENERGY_UNITS:
        raise ValueError(f"LAMMPS has units {units}; expected metal (eV, Å) or real (kcal/mol, Å)")
    if not lmp.extract_setting("box_exist"):
        raise ValueError("LAMMPS has no box yet; read or create atoms before the fix")
    given = [model] if isinstance(model, str | Path | EnergyModel) else model
    models = [prepared(each, chosen_device(device), chosen_dtype(dtype)) for each in given]
    check_committee(models)
    force_fields = [each for each in models if isinstance(each, ForceField)]
    if len(force_fields) < len(models):
        kinds = ", ".join(type(each).__name__ for each in models)
        raise ValueError(f"got models of class {kinds}; expected ForceField")
    for each in force_fields:
        each.check_conditions(Conditions.of(conditions))
    symbols, source = find_elements(lmp, elements)
    types = f"atom types {source}: " + ", ".join(f"{n} {s}" for n, s in enumerate(symbols, 1))
    absent = sorted(set(symbols) - set(models[0].elements))
    if absent:
        raise ValueError(
            f"the model does not know {', '.join(absent)} (its elements: "
            f"{', '.join(models[0].elements)}); {types}"
        )
    force_fields = [cast(ForceField, cut_down(each, symbols)) for each in force_fields]
    forces = LammpsForces(lmp, fix, force_fields, symbols, skin, Conditions.of(conditions))
    forces.set_up(stop or _report_to(lmp.get_mpi_comm()))
    lmp.command(f'print "sikff: {types}"')
    return forces


def stop_processes(comm: Any, problem: str, status: int = 2) -> NoReturn:
    """Ends all processes at once, after `problem` on stderr.

    Where all fail alike the first one speaks for all: the others wait a moment. Files that LAMMPS
    writes end with what it has written so far.

    Args:
        comm: the processes (mpi4py); None: this one alone.
        problem: what went wrong.
        status: the exit status.
    """
    if comm is not None and comm.rank:
        time.sleep(1.0)  # the first one, if it has the same problem, tells of it alone
    print(problem, file=sys.stderr, flush=True)
    sys.stdout.flush()
    if os.name == "posix":
        ctypes.CDLL(None).fflush(None)  # buffers of C: log and dumps
    if comm is not None and comm.size > 1:
        time.sleep(0.5)  # mpirun drops what it has not yet forwarded when a process aborts
        comm.Abort(status)
    os._exit(status)


def _report_to(comm: Any) -> Stop:
    """Ends all processes with the traceback of an error."""

    def stop(step: int, error: BaseException) -> NoReturn:
        text = "".join(traceback.format_exception(error))
        stop_processes(comm, f"{text}sikff: stopped in step {step} of LAMMPS: {error}")

    return stop
