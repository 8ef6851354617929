"""Checks and measures sikff on a GPU, in eight minutes and without a network.

    python tests/gpu/check.py [--device cuda] [--quick] [--json FILE] [--parts NAME ...]

Wants what sikff itself wants. Parts, each with a time of its own; what fails is told, and the next
part goes on:

    machine   memory bandwidth, products of matrices, launches
    parity    energies, forces, stresses and gradients of a loss in the weights, of ten kinds of
              models, against the CPU in float64
    md        1000 steps of water: conservation of energy, and the first steps against the CPU
    training  two minutes, and a run that is resumed against one that never stopped
    steps     time of a step for 27 to 12,288 atoms: by the model itself, as a CUDA graph and
              compiled; against the bandwidth and the bytes that the operations move; peak memory
    largest   the largest box of water
    mace      a step of MACE of the same size, if it can be imported

`--quick` is for machines without a GPU: a few seconds, with `--device cpu` or `pretend`, a device
that is none (tests/pretend_device.py). Results are written to the file after every part, and a
table in Markdown is printed at the end.
"""

from __future__ import annotations

import argparse
import copy
import gc
import importlib.util
import json
import math
import os
import platform
import signal
import statistics
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

# ruff: noqa: E402
TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "benchmarks")]
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # for deterministic training

import ase
import ase.io
import ase.units
import numpy as np
import torch
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.verlet import VelocityVerlet
from md_step import CUTOFF, ELEMENTS, calculator, chain, water
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from force_fields import force_field
from model_kinds import KINDS, graph_for
from sikff import ForceField, ForceFieldConfig
from sikff.calculators import SIKFFCalculator, prepare_models
from sikff.engines import Static, backend_for, differentiate, neighbour_table
from sikff.graph import AtomicGraph
from sikff.training.config import TrainConfig
from sikff.training.fitting.fit import fit

WATER = {27: chain, 192: lambda: water(64), 1536: lambda: water(512), 12288: lambda: water(4096)}
GROUPS = ("O(3)", "C_inf_v")
NEIGHBOURS = 52.0  # of water within the cutoff
LIMITS = {"float64": (1e-9, 1e-7), "float32": (1e-4, 1e-2)}  # of first derivatives, and second
SECONDS = dict(machine=15, parity=90, md=45, training=150, steps=110, largest=40, mace=30)

Results = dict[str, Any]


class OutOfTimeError(Exception):
    """A part took much more than its time."""


class Check:
    """One run: the device, how long parts may take, and what they found."""

    def __init__(self, device: str, quick: bool) -> None:
        self.device, self.quick = torch.device(device), quick
        self.on_cuda = self.device.type == "cuda"
        self._end = math.inf

    @property
    def backends(self) -> dict[str, dict[str, Any]]:
        """Ways to take a step, as options of a calculator."""
        ways: dict[str, dict[str, Any]] = {
            "eager": {"replay_after": None},
            "cuda_graph" if self.on_cuda else "static": {"replay_after": 0},
        }
        return ways | ({"inductor": {"compile": True}} if self.on_cuda else {})

    def run(self, name: str, part: Callable[[Check, Results], None]) -> Results:
        """What a part finds; what it had found before it failed or ran out of time, and why."""
        results: Results = {}
        seconds = 5.0 if self.quick else float(SECONDS[name])
        start = time.monotonic()
        self._end = start + seconds
        signal.signal(signal.SIGALRM, _out_of_time)
        signal.setitimer(signal.ITIMER_REAL, 60.0 if self.quick else 1.5 * seconds)
        try:
            part(self, results)
        except Exception as error:
            results["failed"] = f"{type(error).__name__}: {error}"[:500]
            results["traceback"] = traceback.format_exc()[-3000:]
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        results["seconds"] = round(time.monotonic() - start, 1)
        return results

    @property
    def has_time(self) -> bool:
        return time.monotonic() < self._end

    def wait(self) -> None:
        if self.on_cuda:
            torch.cuda.synchronize(self.device)

    def time(self, work: Callable[[], object], repeats: int = 20) -> float:
        """Median seconds of some work, the device included."""
        seconds = []
        for _ in range(3 if self.quick else repeats):
            self.wait()
            start = time.perf_counter()
            work()
            self.wait()
            seconds.append(time.perf_counter() - start)
        return statistics.median(seconds)

    @contextmanager
    def peak_memory(self, found: Results) -> Iterator[None]:
        """Writes the most memory (MB) that was taken inside, above that before."""
        gc.collect()
        if self.on_cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
            before = torch.cuda.memory_allocated(self.device)
        yield
        if self.on_cuda:
            peak = torch.cuda.max_memory_allocated(self.device) - before
            found["peak MB"] = round(peak / 2**20, 1)


def _out_of_time(*_: object) -> None:
    raise OutOfTimeError("this part took half as long again as it may")


def machine(check: Check, found: Results) -> None:
    """What roofs there are: bytes and operations in a second, and the time of a launch."""
    found["python"], found["torch"] = platform.python_version(), torch.__version__
    if check.on_cuda:
        card = torch.cuda.get_device_properties(check.device)
        found["gpu"], found["memory GB"] = card.name, round(card.total_memory / 1e9, 1)
    found["GB/s"] = round(bandwidth_of(check) / 1e9, 1)
    n = 256 if check.quick else 8192
    matrix = torch.zeros(n, n, device=check.device)
    found["TFLOP/s float32"] = round(2 * n**3 / check.time(lambda: matrix @ matrix) / 1e12, 2)
    small = torch.zeros(1, device=check.device)
    launches = 10 if check.quick else 1000
    seconds = check.time(lambda: [small.add_(1) for _ in range(launches)]) / launches
    found["us a launch"] = round(1e6 * seconds, 2)
    found["us a wait"] = round(1e6 * check.time(lambda: small.cpu()), 2)


def relative(found: Tensor, expected: Tensor) -> float:
    found, expected = found.detach().cpu().double(), expected.detach().cpu().double()
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-3))


def second_derivatives(model: ForceField, graph: AtomicGraph) -> Tensor:
    """Gradient in the weights of a loss of forces and stress."""
    model.requires_grad_().train()
    found = model(graph, stress=True)
    loss = found.forces.square().sum() + found.stress.square().sum() + found.energies.sum()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    gradients = torch.autograd.grad(loss, weights, allow_unused=True)
    model.eval()
    return torch.cat([each.flatten() for each in gradients if each is not None])


def parity(check: Check, found: Results) -> None:
    """The largest relative errors of each kind and type, and those beyond the limits."""
    found["beyond limits"] = []
    kinds = list(KINDS)[:2] if check.quick else list(KINDS)
    for kind in kinds:
        model = force_field(**KINDS[kind])
        graph = graph_for(model, kind)
        expected = model(graph, stress=True)
        second = second_derivatives(copy.deepcopy(model), graph)
        for name, (first_limit, second_limit) in LIMITS.items():
            if not check.has_time:
                found["left out"] = "for lack of time"
                return
            there = copy.deepcopy(model).to(check.device, getattr(torch, name))
            moved = graph.to(check.device)
            errors: Results = {}
            gradient = second_derivatives(copy.deepcopy(there), moved)
            errors["second"] = relative(gradient, second)
            static = Static(there.freeze(), backend=way(check))
            for how, evaluate in (("eager", there), ("static", static)):
                prediction = evaluate(moved, stress=True)
                for what in ("energy", "forces", "stress"):
                    value = relative(getattr(prediction, what), getattr(expected, what))
                    errors[f"{how} {what}"] = value
            found[f"{kind} {name}"] = {what: f"{value:.1e}" for what, value in errors.items()}
            for what, value in errors.items():
                if not value < (second_limit if what == "second" else first_limit):
                    found["beyond limits"].append(f"{kind} {name} {what}: {value:.1e}")


def direct(function: Callable, example: Sequence[Tensor], weights: Sequence[Tensor]) -> Callable:
    """A backend that calls the function itself, for a device that has no graphs."""
    return function


def way(check: Check) -> Any:
    """The backend of the device without a compiler."""
    return direct if check.device.type == "pretend" else backend_for(check.device)


def model_of(group: str, **options: Any) -> ForceField:
    """A model of the default size with random weights, in float32."""
    small = {"elements": ELEMENTS, "cutoff": CUTOFF, "average_neighbours": NEIGHBOURS}
    torch.manual_seed(0)
    return ForceField(ForceFieldConfig(**{**small, "group": group, **options})).eval()


def md(check: Check, found: Results) -> None:
    """Verlet dynamics of a calculator, and where the CPU's are after some steps."""
    steps, compared = (4, 2) if check.quick else (1000, 20)
    options: Results = {"channels": 4, "max_frequency": 1} if check.quick else {}
    model = model_of("O(3)", zbl=True, **options)
    ends = {}
    for device in ("cpu", str(check.device)):
        atoms = water(8 if check.quick else 64)
        rng = np.random.default_rng(0)
        momenta = rng.normal(size=(len(atoms), 3)) * np.sqrt(atoms.get_masses())[:, None]
        atoms.set_momenta(momenta * (100 * ase.units.kB) ** 0.5)
        atoms.calc = SIKFFCalculator(model, device=device)
        dynamics = VelocityVerlet(atoms, 0.1 * ase.units.fs)
        dynamics.run(compared)
        ends[device] = atoms.get_positions()
    found["difference of positions, A"] = float(np.abs(ends["cpu"] - ends[device]).max())
    found["after steps"] = compared
    before, energies, start = atoms.get_total_energy(), [], time.perf_counter()
    for done in range(0, steps, max(steps // 50, 1)):
        dynamics.run(max(steps // 50, 1))
        energies.append(atoms.get_total_energy())
        found["steps"] = done + max(steps // 50, 1)
        if not check.has_time:
            break
    found["ms a step"] = 1e3 * (time.perf_counter() - start) / found["steps"]
    found["drift, meV/atom"] = 1e3 * (energies[-1] - before) / len(atoms)
    found["largest deviation, meV/atom"] = 1e3 * np.abs(np.array(energies) - before).max() / 192
    found["searches"] = atoms.calc.neighbour_rebuilds


def alloys(count: int) -> list[ase.Atoms]:
    """Rattled copper with energies and forces of EMT."""
    frames, rng = [], np.random.default_rng(0)
    for _ in range(count):
        atoms = bulk("Cu", cubic=True) * (2, 1, 1)
        atoms.positions += rng.normal(0, 0.1, atoms.positions.shape)
        atoms.calc = EMT()
        results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        atoms.calc = SinglePointCalculator(atoms, **results)
        frames.append(atoms)
    return frames


def training(check: Check, found: Results) -> None:
    """A run by time; and, deterministic or not, one that is resumed against one that is not."""
    if check.device.type == "pretend":
        found["left out"] = "a run takes no such device"
        return
    minutes = 0.03 if check.quick else 1.5
    size = {"channels": 2, "max_frequency": 1, "layers": 1} if check.quick else {"channels": 16}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = Path(folder) / "train.xyz"
        ase.io.write(data, alloys(20 if check.quick else 200))
        base: Results = {
            "data": {"train": data, "valid": 0.1},
            "model": {"group": "O(3)", "cutoff": 4.0, **size},
            "device": check.device.type,
            "batch_size": 8,
            "plots": False,
        }

        def run(name: str, resume: bool = False, **options: Any) -> Results:
            lines: list[str] = []
            config = TrainConfig.model_validate({**base, "output": Path(folder) / name, **options})
            fit(config, resume=resume, report=lines.append)
            rows = (config.output / "log.csv").read_text().splitlines()
            last = dict(zip(rows[0].split(","), map(float, rows[-1].split(",")), strict=True))
            return {"lines": lines, **last}

        timed = run("timed", max_minutes=minutes)
        found["steps"], found["minutes"] = timed["step"], timed["minutes"]
        found["ms a step"] = 6e4 * timed["minutes"] / timed["step"]
        found["how"] = [line for line in timed["lines"] if "step" in line]
        names = ("valid_loss", "energy_mae_mev_per_atom", "force_mae_mev_per_a")
        found["at the end"] = {name: timed[name] for name in names if name in timed}
        epochs = 2 if check.quick else 4
        for name, deterministic in (("as it is", False), ("deterministic", True)):
            options = {"deterministic": deterministic}
            whole = run(f"whole {name}", max_epochs=epochs, schedule="plateau", **options)
            run(f"part {name}", max_epochs=epochs // 2, schedule="plateau", **options)
            again = run(
                f"part {name}", resume=True, max_epochs=epochs, schedule="plateau", **options
            )
            difference = abs(again["valid_loss"] - whole["valid_loss"]) / whole["valid_loss"]
            found[f"resumed, {name}: relative difference of the loss"] = difference


class Bytes(TorchDispatchMode):
    """Counts bytes that operations read and write, and launches; of a gather what it takes."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.launches = 0

    def __torch_dispatch__(
        self, target: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = target(*args, **(kwargs or {}))
        if not target.is_view:
            results = [x for x in tree_leaves(result) if isinstance(x, Tensor)]
            given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
            if "index_select" in str(target) or "gather" in str(target):
                given = [*results, *given[1:]]
            self.bytes += sum(x.numel() * x.element_size() for x in (*given, *results))
            self.launches += 1
        return result


def count_bytes(model: ForceField, atoms: ase.Atoms, device: torch.device) -> Bytes:
    """Of energy and forces in fixed shapes."""
    graph = AtomicGraph.from_atoms(atoms, CUTOFF, ELEMENTS).to(device)
    most = int(torch.bincount(graph.edge_index[0].cpu()).max())
    slots = -(-most // 16) * 16
    table = neighbour_table(graph, CUTOFF, slots, dtype=model.dtype)
    with Bytes() as counted:
        differentiate(model.atomic_energies, graph, table=table)
    return counted


def step_time(calc: Any, atoms: ase.Atoms, calls: int) -> float:
    """Median milliseconds of a step as a user of ASE pays for it."""
    rng = np.random.default_rng(0)
    atoms.calc, seconds = calc, []
    for number in range(calls + 3):
        atoms.positions += 0.003 * rng.normal(size=atoms.positions.shape)
        start = time.perf_counter()
        atoms.get_potential_energy(), atoms.get_forces()
        if number >= 3:
            seconds.append(time.perf_counter() - start)
    return 1e3 * statistics.median(seconds)


def steps(check: Check, found: Results) -> None:
    """Steps by size, model and backend; the compiled ones last, as long as there is time."""
    sizes = [27] if check.quick else list(WATER)
    options: Results = {"channels": 4, "max_frequency": 1} if check.quick else {}
    bandwidth = bandwidth_of(check)
    runs = [(how, n, group) for how in check.backends for n in sizes for group in GROUPS]
    for how, n, group in runs:
        if how == "inductor" and n > 1536:
            continue
        if not check.has_time:
            found["left out"] = "for lack of time"
            return
        row: Results = {}
        model, atoms = model_of(group, **options), WATER[n]()
        name = f"{group} {n} {how}"
        try:
            with check.peak_memory(row):
                row["ms"] = step_time(
                    SIKFFCalculator(model, device=str(check.device), **check.backends[how]),
                    atoms,
                    2 if check.quick else 20,
                )
            atoms.calc = None
            there = copy.deepcopy(model).to(check.device).freeze()
            there(AtomicGraph.from_atoms(chain(), CUTOFF, ELEMENTS).to(check.device))
            counted = count_bytes(there, atoms, check.device)
            row["launches"], row["MB moved"] = counted.launches, round(counted.bytes / 1e6, 1)
            row["of the bandwidth"] = round(counted.bytes / bandwidth / row["ms"] * 1e3, 3)
        except (RuntimeError, ValueError) as error:  # of memory, or of a compiler
            row["failed"] = f"{type(error).__name__}: {error}"[:300]
        found[name] = row
    if check.on_cuda:  # from which size on a GPU is faster, the rule of device="auto"
        for n in (27, 192):
            calc = SIKFFCalculator(model_of("O(3)"), device="cpu", replay_after=0)
            found[f"O(3) {n} on the CPU"] = {"ms": step_time(calc, WATER[n](), 5)}


def bandwidth_of(check: Check) -> float:
    """Bytes in a second, of large copies."""
    source = torch.zeros(2**20 if check.quick else 2**27, device=check.device)
    target = torch.zeros_like(source)
    return 8 * source.numel() / check.time(lambda: target.copy_(source), 5)


def largest(check: Check, found: Results) -> None:
    """Boxes of water, each twice as large, until memory or time ends."""
    options: Results = {"channels": 4, "max_frequency": 1} if check.quick else {}
    model = model_of("C_inf_v", **options).to(check.device).freeze()
    atoms, doubled = water(8 if check.quick else 4096), [2, 1, 1]
    while check.has_time:
        start = time.monotonic()
        graph = AtomicGraph.from_atoms(atoms, CUTOFF, ELEMENTS)
        row: Results = {"search s": round(time.monotonic() - start, 2)}
        try:
            with check.peak_memory(row):
                there = graph.to(check.device)
                start = time.monotonic()
                forces = model(there).forces.cpu()
                row["s"] = round(time.monotonic() - start, 3)
            assert bool(forces.isfinite().all())
        except RuntimeError as error:
            found["ended by"] = f"{type(error).__name__}: {error}"[:200]
            return
        found[f"{len(atoms)} atoms"] = row
        if check.quick:
            return
        atoms, doubled = atoms.repeat(doubled), doubled[-1:] + doubled[:-1]


def mace(check: Check, found: Results) -> None:
    """A step of MACE for the same water."""
    n = 192 if check.quick else 1536
    for name in ("mace 128x0e", "mace 64x0e+64x1o"):
        calc = calculator(name, str(check.device), NEIGHBOURS)
        found[f"{name} {n}"] = {"ms": step_time(calc, WATER[n](), 10)}


PARTS: dict[str, Callable[[Check, Results], None]] = {
    "machine": machine,
    "parity": parity,
    "md": md,
    "training": training,
    "steps": steps,
    "largest": largest,
    "mace": mace,
}


def table(results: dict[str, Results]) -> str:
    """All results in Markdown."""
    lines = ["| part | what | found |", "|---|---|---|"]
    for part, found in results.items():
        for what, value in found.items():
            if what == "traceback":
                continue
            pairs = value.items() if isinstance(value, dict) else [("", value)]
            texts = [f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in pairs]
            text = ", ".join(each.strip() for each in texts)
            lines.append(f"| {part} | {what} | {text.replace('|', ' ')} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, cpu or pretend")
    parser.add_argument("--quick", action="store_true", help="small sizes, a few seconds")
    parser.add_argument("--json", type=Path, default=Path("gpu-check.json"))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=None)
    options = parser.parse_args()
    parts = options.parts or [n for n in PARTS if n != "mace" or importlib.util.find_spec("mace")]
    with ExitStack() as stack:
        if options.device == "pretend":
            from pretend_device import pretend_device

            stack.enter_context(pretend_device())
            prepare_models.backend_for = lambda device: direct
        check, results = Check(options.device, options.quick), dict[str, Results]()
        for name in parts:
            print(f"{name} ...", flush=True)
            results[name] = check.run(name, PARTS[name])
            if "failed" in results[name]:
                print(f"{name} failed: {results[name]['failed']}", flush=True)
            options.json.write_text(json.dumps(results, indent=1, default=str), encoding="utf-8")
    print(table(results))
    sys.exit(any("failed" in found or found.get("beyond limits") for found in results.values()))


if __name__ == "__main__":
    main()
