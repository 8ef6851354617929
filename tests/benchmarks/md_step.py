"""Energy and forces as a user of ASE pays for them, beside other packages: measured only.

    python tests/benchmarks/md_step.py [--mace PYTHON] [--nequip PYTHON] [--compile] [--small]
                                       [--systems NAME ...] [--models NAME ...]

PYTHON is the interpreter of an environment that has mace-torch or nequip. Every model lives in a
process of its own; models and systems take turns, so that a busy machine is busy for all. Atoms
move by 0.01 Å between calls; neighbour lists are included. sikff is measured as it answers the
first calls, and replayed, as a calculator does after ten with the same atoms; with
--small also with 16 channels (default: 32) and products of two (default: of three). Weights are
random: they cost what trained ones cost. Prints medians and ratios to the fastest peer, and peak
memory per atom above that of a process that has evaluated a small box of water (Linux).
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.build import add_adsorbate, fcc111, graphene, molecule

ELEMENTS = ("H", "C", "N", "O", "Cu")
CUTOFF = 5.0
# e3nn 0.4.4, which mace-torch wants, is not imported by newer torch otherwise
ENVIRONMENT = os.environ | {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
SIKFF: dict[str, dict[str, Any]] = {
    f"sikff {group}": {"group": group} for group in ("SO(2)", "C_inf_v", "O(3)")
}
PLANE = {"group": "C_inf_v", "environment": {"plane_origin": (0, 0, 0), "plane_range": 12.0}}
SIKFF |= {"sikff on a plane": PLANE, "sikff on a plane, vacuum": PLANE | {"vacuum_group": "O(3)"}}
SMALL = {"channels": 16, "correlation": 2}
SIKFF_SMALL = {f"{name} small": options | SMALL for name, options in SIKFF.items()}
REPLAYED = {f"{name} replayed": options for name, options in (SIKFF | SIKFF_SMALL).items()}
COMPILED = {f"{name} compiled": options for name, options in (SIKFF | SIKFF_SMALL).items()}
OURS = SIKFF | SIKFF_SMALL | REPLAYED | COMPILED
MACE = {"mace 64x0e+64x1o": "64x0e + 64x1o", "mace 128x0e": "128x0e"}
NEQUIP = {"nequip l_max=1": 1, "nequip l_max=2": 2}


def chain() -> Atoms:
    """27 atoms, as many as 3BPA and of its elements: a chain, bent at random."""
    rng = np.random.default_rng(0)
    places = np.stack([1.2 * np.arange(9), np.zeros(9), np.zeros(9)], axis=1)
    heavy = places + 0.3 * rng.normal(size=places.shape)
    hydrogens = [c + s * np.array([0.0, 0.9, 0.4]) for c in heavy for s in (-1, 1)]
    return Atoms("C6N2O" + "H18", np.concatenate([heavy, hydrogens]))


def water(n_molecules: int) -> Atoms:
    """Water at 1 g/cm^3, each molecule turned at random, in a periodic cube."""
    cells, rng = round(n_molecules ** (1 / 3)), np.random.default_rng(0)
    length = (18.015 / 0.6022) ** (1 / 3)
    one, box = molecule("H2O"), Atoms(cell=[cells * length] * 3, pbc=True)
    one.positions -= one.positions.mean(0)
    for place in np.ndindex(cells, cells, cells):
        turned = one.copy()
        turned.rotate(360 * rng.random(), rng.normal(size=3))
        turned.positions += (np.array(place) + 0.5) * length
        box += turned
    return box


def slab() -> Atoms:
    """CO on four layers of Cu(111)."""
    atoms = fcc111("Cu", (4, 4, 4), vacuum=8.0)
    add_adsorbate(atoms, "CO", 1.9, "ontop")
    atoms.pbc = (True, True, False)
    return atoms


def on_graphene(sheet: bool, copies: int) -> Atoms:
    """``copies`` x ``copies`` molecules of water, each above 72 carbon atoms, or without them."""
    atoms = graphene(size=(6, 6, 1), vacuum=15.0)
    atoms.positions[:, 2] = 0.0
    n_carbon = len(atoms)
    one = molecule("H2O")
    one.positions += (0.0, 0.0, 3.2) - one.positions[0]
    atoms = atoms + one if sheet else (atoms + one)[n_carbon:]
    atoms.pbc = (True, True, False)
    return atoms.repeat((copies, copies, 1))


SYSTEMS: dict[str, Callable[[], Atoms]] = {
    "plane": lambda: on_graphene(False, 1),
    "graphene": lambda: on_graphene(True, 1),
    "plane16": lambda: on_graphene(False, 4),
    "graphene16": lambda: on_graphene(True, 4),
    "bpa": chain,
    "water192": lambda: water(64),
    "slab": slab,
    "water1536": lambda: water(512),
    "water12288": lambda: water(4096),
}


def neighbours(systems: dict[str, Atoms]) -> float:
    """Mean number of neighbours."""
    from ase.neighborlist import neighbor_list

    atoms = next(iter(systems.values()))
    return len(neighbor_list("i", atoms, CUTOFF)) / len(atoms)


def calculator(name: str, device: str, average: float) -> Any:
    """The calculator of that name, with random weights in float32."""
    import torch

    torch.manual_seed(0)
    if ours := OURS.get(name):
        from sikff import ForceField, ForceFieldConfig
        from sikff.calculators import SIKFFCalculator

        config = ForceFieldConfig(
            elements=ELEMENTS,
            cutoff=CUTOFF,
            average_neighbours=average,
            **ours,
        )
        how = {"compile": name in COMPILED, "replay_after": 0 if name in REPLAYED else None}
        return SIKFFCalculator(ForceField(config), device=device, **how)
    if name in MACE:
        return mace_calculator(MACE[name], device, average)
    return _nequip(NEQUIP[name], device, average)


def mace_calculator(
    hidden: str, device: str, average: float, elements: Sequence[str] = ELEMENTS
) -> Any:
    """MACE of those hidden irreps, with random weights in float32."""
    import torch
    from e3nn import o3
    from mace import modules
    from mace.calculators import MACECalculator

    blocks = modules.interaction_classes
    model = modules.ScaleShiftMACE(
        r_max=CUTOFF,
        num_bessel=8,
        num_polynomial_cutoff=5,
        max_ell=3,
        interaction_cls=blocks["RealAgnosticResidualInteractionBlock"],
        interaction_cls_first=blocks["RealAgnosticResidualInteractionBlock"],
        num_interactions=2,
        num_elements=len(elements),
        hidden_irreps=o3.Irreps(hidden),
        MLP_irreps=o3.Irreps("16x0e"),
        gate=torch.nn.functional.silu,
        atomic_energies=np.zeros(len(elements)),
        avg_num_neighbors=average,
        atomic_numbers=sorted(Atoms(elements).numbers.tolist()),
        correlation=3,
        radial_type="bessel",
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
    ).float()
    return MACECalculator(models=[model], device=device, default_dtype="float32")


def _nequip(l_max: int, device: str, average: float) -> Any:
    from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
    from nequip.integrations.ase import NequIPCalculator
    from nequip.model import NequIPGNNModel
    from nequip.utils.global_state import set_global_state

    set_global_state()

    model = NequIPGNNModel(
        seed=0,
        model_dtype="float32",
        r_max=CUTOFF,
        type_names=list(ELEMENTS),
        num_layers=4,
        l_max=l_max,
        num_features=64,
        avg_num_neighbors=average,
    )
    model = model["sole_model"] if isinstance(model, dict) else model
    transforms = [ChemicalSpeciesToAtomTypeMapper(list(ELEMENTS)), NeighborListTransform(CUTOFF)]
    return NequIPCalculator(model.eval(), device=device, transforms=transforms)


def serve(name: str, folder: Path, device: str, threads: int) -> None:
    """Answers lines "system calls" with the seconds of every call, as JSON."""
    import warnings

    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(threads)
    systems = {p.stem: ase.io.read(p) for p in sorted(folder.glob("*.xyz"))}
    calc = calculator(name, device, neighbours(systems))
    rng = np.random.default_rng(0)
    for atoms in (*systems.values(), small := water(8)):
        atoms.calc = calc
    small.get_forces()
    ctypes.CDLL(None).malloc_trim(0)  # what was needed to build the model
    empty = memory("VmRSS")
    print("ready", flush=True)
    for line in sys.stdin:
        system, calls = line.split()
        atoms, seconds = systems[system], []
        ctypes.CDLL(None).malloc_trim(0)  # what another system needed
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak
        for _ in range(int(calls)):
            atoms.positions += 0.01 * rng.normal(size=atoms.positions.shape)
            if device != "cpu":
                torch.cuda.synchronize()
            start = time.perf_counter()
            atoms.get_potential_energy(), atoms.get_forces()
            seconds.append(time.perf_counter() - start)
        kilobytes = memory("VmHWM") - empty
        print(json.dumps({"seconds": seconds, "kilobytes": kilobytes}), flush=True)


def memory(name: str) -> int:
    """Memory of this process (kB): VmRSS, what it has, or VmHWM, the most it has had."""
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in status if line.startswith(name)))


def measure(options: argparse.Namespace) -> dict[str, dict[str, dict[str, float]]]:
    """Median milliseconds and peak kB per atom: results[system][model]."""
    models = dict.fromkeys(OURS, sys.executable)
    models |= dict.fromkeys(MACE, options.mace) if options.mace else {}
    models |= dict.fromkeys(NEQUIP, options.nequip) if options.nequip else {}
    shown = options.models or [
        name
        for name in models
        if (options.compile or name not in COMPILED) and (options.small or " small" not in name)
    ]
    models = {name: models[name] for name in shown}
    results: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        sizes = {}
        for system in options.systems:
            atoms = SYSTEMS[system]()
            sizes[system] = len(atoms)
            ase.io.write(Path(folder) / f"{system}.xyz", atoms)
        workers = {}
        for name, python in models.items():
            command = [python, __file__, "--serve", name, "--folder", folder]
            command += ["--device", options.device, "--threads", str(options.threads)]
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            workers[name] = subprocess.Popen(command, text=True, env=ENVIRONMENT, **pipes)
        for name, worker in workers.items():
            while (line := worker.stdout.readline()).strip() != "ready":  # others print greetings
                if not line:
                    raise RuntimeError(f"{name} did not start")
        runs = list(product(sorted(options.systems, key=sizes.__getitem__), workers))
        found: dict[tuple[str, str], list[float]] = {run: [] for run in runs}
        peak = dict.fromkeys(runs, 0.0)
        for turn, (system, name) in product(range(options.rounds + 1), runs):
            worker = workers[name]
            worker.stdin.write(f"{system} {options.calls}\n")
            worker.stdin.flush()
            answer = json.loads(worker.stdout.readline())
            peak[system, name] = max(peak[system, name], answer["kilobytes"] / sizes[system])
            found[system, name] += answer["seconds"] if turn else []  # the first warms up
        for system, name in runs:
            ms = 1e3 * float(np.median(found[system, name]))
            result = {"ms": ms, "kB per atom": peak[system, name]}
            results.setdefault(system, {})[name] = result
        for system, result in results.items():
            show(system, sizes[system], result)
        for worker in workers.values():
            worker.stdin.close()
            worker.wait()
    return results


def show(system: str, n_atoms: int, results: dict[str, dict[str, float]]) -> None:
    """One table."""
    peers = [each["ms"] for name, each in results.items() if not name.startswith("sikff")]
    print(f"\n{system}, {n_atoms} atoms")
    for name, each in results.items():
        ratio = f"{each['ms'] / min(peers):.3f} of the fastest peer" if peers else ""
        print(f"  {name:38s} {each['ms']:8.1f} ms {each['kB per atom']:8.0f} kB/atom  {ratio}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mace", help="interpreter of an environment with mace-torch")
    parser.add_argument("--nequip", help="interpreter of an environment with nequip")
    parser.add_argument("--compile", action="store_true", help="sikff through torch.compile too")
    parser.add_argument("--small", action="store_true", help="smaller models of sikff too")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=["bpa", "water192"])
    parser.add_argument("--models", nargs="+", metavar="NAME", help="(default: all)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--threads", type=int, default=2, help="sikff takes one for fewer than 50 atoms"
    )
    parser.add_argument("--calls", type=int, default=5, help="in a turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.folder, options.device, options.threads)
        return
    results = measure(options)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
