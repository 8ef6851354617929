"""A step of LAMMPS with a force field on one process and on several, and its parity with ASE.

    python tests/benchmarks/in_lammps.py [--ranks N ...] [--systems NAME ...] [--steps N]
                                         [--group NAME] [--dtype NAME] [--parity]

Needs the extra `lammps`. Every number of ranks is a run of mpirun by itself, with one thread for
each process. Weights are random: they cost what trained ones cost. Prints, for each system:

    wall       seconds a step
    work       CPU seconds a step of the slowest process without what it waits for others in; MPI
               waits by looking again and again, so on a busy machine only this can be compared
    exchange   CPU seconds a step in the exchange of features, gradients and forces, with waiting
    sent       MB a step that the busiest process sends to others
    ghosts     copies of atoms of the process that has most, beside its own atoms
    memory     GB that a process has at most, beyond what it had with the model loaded

With --parity the largest differences of energy, forces and stress from the calculator in ASE, of a
random processor grid, are printed instead.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))
from md_step import CUTOFF, ENVIRONMENT, SYSTEMS, neighbours  # noqa: E402

from force_fields import ELEMENTS  # noqa: E402
from sikff import ForceField, ForceFieldConfig  # noqa: E402

RUN = """
velocity all create 300 7 loop geom
fix move all nve/limit 0.01
timestep 0.0005
thermo 1000000
"""


class Clock:
    """CPU seconds that functions take, by their names."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def time(self, owner: Any, name: str) -> None:
        function: Callable[..., Any] = getattr(owner, name)

        def timed(*inputs: Any, **options: Any) -> Any:
            start = time.process_time()
            try:
                return function(*inputs, **options)
            finally:
                passed = time.process_time() - start
                self.seconds[name] = self.seconds.get(name, 0.0) + passed

        setattr(owner, name, timed)


def random_model(group: str, dtype: str) -> ForceField:
    """With the sizes of md_step.py."""
    torch.manual_seed(0)
    average = neighbours({"water192": SYSTEMS["water192"]()})
    config = ForceFieldConfig(
        elements=ELEMENTS, group=group, cutoff=CUTOFF, average_neighbours=average
    )
    return ForceField(config).to(getattr(torch, dtype)).eval()


def peak() -> float:
    """GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(system: str, group: str, dtype: str, steps: int) -> dict[str, float]:
    """One run on all processes; numbers of the process that has most."""
    from mpi4py import MPI

    from lammps_cases import started
    from sikff.calculators import exchange, lammps_forces
    from sikff.calculators.lammps import attach

    model, atoms, clock, sent = random_model(group, dtype), SYSTEMS[system](), Clock(), [0]
    alltoall = exchange.Exchange._alltoall

    def counted(self: Any, values: Any, counts: np.ndarray, *others: Any) -> None:
        rows = counts.sum() - counts[self.comm.rank]
        sent[0] += int(rows) * values.shape[1] * values.itemsize
        alltoall(self, values, counts, *others)

    exchange.Exchange._alltoall = counted
    for name in ("spread", "collect"):
        clock.time(exchange.Exchange, name)
    for name in ("_evaluate", "_set_results"):
        clock.time(lammps_forces.LammpsForces, name)
    before = peak()
    lmp = started(atoms, "p p p")
    attach(lmp, model)
    lmp.commands_string(RUN + "run 2 post no")
    clock.seconds, sent[0] = {}, 0
    start = time.perf_counter()
    lmp.command(f"run {steps} pre no post no")
    wall = time.perf_counter() - start
    seconds = clock.seconds
    exchanged = seconds.get("spread", 0.0) + seconds.get("collect", 0.0)
    work = seconds["_evaluate"] - exchanged - seconds["_set_results"]
    mine = {
        "wall": wall / steps,
        "work": work / steps,
        "exchange": exchanged / steps,
        "sent": sent[0] / steps / 1e6,
        "atoms": lmp.extract_setting("nlocal"),
        "ghosts": lmp.extract_global("nghost") if MPI.COMM_WORLD.size > 1 else 0,
        "memory": peak() - before,
    }
    every = MPI.COMM_WORLD.gather(mine)
    return {name: max(each[name] for each in every) for name in mine} if every else {}


def parity(system: str, group: str, dtype: str) -> dict[str, float]:
    from mpi4py import MPI

    from lammps_cases import compared

    grids = [g for g in np.ndindex(5, 5, 5) if np.prod(g) == MPI.COMM_WORLD.size]
    grid = grids[np.random.default_rng().integers(len(grids))] if not MPI.COMM_WORLD.rank else None
    grid = " ".join(map(str, MPI.COMM_WORLD.bcast(grid)))
    found = compared(
        SYSTEMS[system](), random_model(group, dtype), setup=f"processors {grid}", dtype=dtype
    )
    return {"grid": grid.replace(" ", "x"), **found}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--ranks", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=["water1536"])
    parser.add_argument("--group", default="C_inf_v")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--parity", action="store_true")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        inputs = options.serve, options.group, options.dtype
        found = parity(*inputs) if options.parity else measure(*inputs, options.steps)
        if found:
            print(json.dumps(found))
        return
    mpirun = str(Path(sys.executable).parent / "mpirun")
    for system in options.systems:
        for ranks in options.ranks:
            command = [mpirun, "-n", str(ranks), sys.executable, __file__, *sys.argv[1:]]
            run = subprocess.run(
                [*command, "--serve", system],
                env=ENVIRONMENT | {"OMP_NUM_THREADS": "1"},
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            numbers = json.loads(run.stdout.splitlines()[-1])
            shown = (
                f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in numbers.items()
            )
            print(f"{system} {options.group} {options.dtype}, {ranks} ranks: {', '.join(shown)}")


if __name__ == "__main__":
    main()
