"""The part of a learning run's time that goes into labels, where a label takes long.

    python tests/benchmarks/learning_time.py --seconds 30 --max-labels 80

A molecule is learned from GFN2-xTB (tblite), which sleeps before each label: half an hour for 60
labels. Seconds by the clock, and with those of the processor instead for a machine that is busy.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from ase.build import molecule
from tblite.ase import TBLite

from sikff.training.learn.config import LearnConfig
from sikff.training.learn.learn import learn


class Slow(TBLite):
    """Sleeps before it computes."""

    def __init__(self, seconds: float) -> None:
        super().__init__(method="GFN2-xTB", verbosity=0)
        self.seconds = seconds

    def calculate(self, *arguments: Any, **named: Any) -> None:
        time.sleep(self.seconds)
        super().calculate(*arguments, **named)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", default="CH3OH", help="of ase.build.molecule")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--target", type=float, default=20.0)
    parser.add_argument("--max-labels", type=int, default=100)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        start, output = Path(folder) / "start.xyz", Path(folder) / "learned"
        molecule(options.name).write(start)
        config = LearnConfig(
            structures=start,
            target=options.target,
            max_labels=options.max_labels,
            max_minutes=None,
            output=output,
        )
        began = time.monotonic()
        learned = learn(config, Slow(options.seconds))
        whole = time.monotonic() - began
        state = json.loads((output / "state.json").read_text())
    asleep, busy = options.seconds * learned.labels, time.process_time()
    print(f"{learned.words}; {state['members']} members")
    for part, seconds in state["seconds"].items():
        print(f"{part}: {seconds:.0f} s")
    print(f"labels: {100 * state['seconds']['labels'] / whole:.0f} % of {whole:.0f} s by the clock")
    print(f"labels: {100 * asleep / (asleep + busy):.0f} % with {busy:.0f} s of the processor")


if __name__ == "__main__":
    main()
