"""Training on data larger than memory: memory, time to the first step, and structures per second.

    python tests/benchmarks/large_data.py --structures 200000 --folder build/large

Makes structures of 20 atoms with the energies and forces of a pair potential, as extended XYZ, and
trains on them with `data.memory`, each training in a process of its own, of one thread: one step at
the first start, which reads the file, and one at the second. Then on `--compared` structures, with
graphs made whenever they are needed (`memory: 0 B`) and with all in memory; the difference of
trainings of few and of many steps is their time per structure. Seconds are those of the processor,
which a busy machine does not change.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sikff.atomic_write import complete

ATOMS = 20
LATTICE = 2.55  # Å
STEPS = (20, 220)
BATCH = 5


def write_structures(
    path: Path, count: int, elements: Sequence[str] = ("Ni", "Cu"), present: int = 2
) -> None:
    """Rattled pieces of a simple cubic lattice in a periodic cell, with a Morse-like potential.

    Its depth depends on the difference of two elements' places among `elements`, of which a
    structure has at most `present`.
    """
    rng = np.random.default_rng(0)
    names, places = np.array(elements), np.linspace(0, 1, len(elements))
    grid = np.stack(np.meshgrid(range(2), range(2), range(5), indexing="ij"), -1).reshape(-1, 3)
    cell = LATTICE * np.array([3.0, 3.0, 5.0])
    text = f'Lattice="{cell[0]} 0 0 0 {cell[1]} 0 0 0 {cell[2]}" '
    text += 'Properties=species:S:1:pos:R:3:forces:R:3 pbc="T T T" energy='
    with complete(path) as temporary, temporary.open("w") as file:
        for _ in range(count):
            positions = LATTICE * grid + rng.normal(0, 0.12, grid.shape)
            chosen = rng.choice(rng.choice(len(names), present, replace=False), ATOMS)
            depth = 0.2 + 0.1 * np.abs(places[chosen][:, None] - places[chosen])
            vectors = positions - positions[:, None]
            vectors -= cell * np.rint(vectors / cell)
            distances = np.linalg.norm(vectors, axis=2) + 99 * np.eye(ATOMS)
            decay = np.exp(-1.4 * (distances - LATTICE))
            energy = 0.5 * (depth * (decay**2 - 2 * decay)).sum()
            pull = depth * 2.8 * (decay - decay**2) / distances
            forces = (pull[:, :, None] * vectors).sum(1)
            numbers = np.hstack([positions, forces]).tolist()
            symbols = names[chosen].tolist()
            file.write(f"{ATOMS}\n{text}{energy:.10f}\n")
            file.writelines(
                f"{symbol} {' '.join(f'{x:.8f}' for x in row)}\n"
                for symbol, row in zip(symbols, numbers, strict=True)
            )


def train(path: Path, output: Path, memory: str | None, steps: int) -> dict[str, float]:
    """Trains so many steps; returns seconds of the processor, and resident memory (GB)."""
    import torch

    from sikff.training.config import TrainConfig
    from sikff.training.fitting.fit import fit

    torch.set_num_threads(1)
    config = TrainConfig.model_validate(
        {
            "data": {"train": path, "valid": 0, "memory": memory},
            "output": output,
            "batch_size": BATCH,
            "max_steps": steps,
            "validate_every": steps,
            "device": "cpu",
            "plots": False,
            "checkpoints": False,
        }
    )
    clock = time.monotonic()
    fit(config)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "wall_s": time.monotonic() - clock,
        "resident_gb": usage.ru_maxrss * 1024 / 1e9,
    }


def make_samples(path: Path, count: int = 1000) -> float:
    """Seconds of the processor for a sample that is not kept."""
    from sikff.training.config import TrainConfig
    from sikff.training.data.dataset import load_dataset

    data = {"train": path, "valid": 0, "memory": "0 B"}
    samples = load_dataset(TrainConfig.model_validate({"data": data, "max_steps": 1})).train
    clock = time.process_time()
    for index in range(min(count, len(samples))):
        samples[index]
    return (time.process_time() - clock) / min(count, len(samples))


def run(path: Path, name: str, memory: str | None, steps: int) -> dict[str, float]:
    """:func:`train` in a process of its own."""
    output = path.parent / f"run-{name}-{time.time_ns()}"
    command = [sys.executable, __file__, "--train", path, output, memory or "", steps]
    text = subprocess.run([*map(str, command)], check=True, capture_output=True, text=True).stdout
    found: dict[str, float] = json.loads(text)
    print(f"{name:34s} " + "  ".join(f"{k} {v:.2f}" for k, v in found.items()), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--structures", type=int, default=200_000)
    parser.add_argument("--compared", type=int, default=4000)
    parser.add_argument("--folder", type=Path, default=Path("build/large"))
    parser.add_argument("--memory", default="1 GB")
    parser.add_argument("--train", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.train:
        path, output, memory, steps = given.train
        print(json.dumps(train(Path(path), Path(output), memory or None, int(steps))))
        return
    given.folder.mkdir(parents=True, exist_ok=True)
    for count in (given.compared, given.structures):
        path = given.folder / f"{count}.xyz"
        if not path.exists():
            write_structures(path, count)
    large, small = (given.folder / f"{n}.xyz" for n in (given.structures, given.compared))
    run(large, "first start and one step", given.memory, 1)
    run(large, "second start and one step", given.memory, 1)
    run(small, "prepare", "0 B", 1)
    print(f"a sample that is not kept: {1000 * make_samples(small):.2f} ms")
    each = {}
    for name, memory in (("in memory", None), ("on the disk", "0 B")):
        few, many = (run(small, f"{name}, {steps} steps", memory, steps) for steps in STEPS)
        each[name] = (many["cpu_s"] - few["cpu_s"]) / ((STEPS[1] - STEPS[0]) * BATCH)
        print(f"{name}: {1000 * each[name]:.2f} ms a structure")
    print(f"throughput of that from memory: {each['in memory'] / each['on the disk']:.3f}")


if __name__ == "__main__":
    main()
