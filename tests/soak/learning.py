"""Kills learning runs at random moments.

    python tests/soak/learning.py --kills 50

Runs are killed until that many kills have hit one. No label that was written may be lost, none that
was written asked for again, and each run ends with the labels and the weights, bit for bit, of one
that was not disturbed.
"""

import argparse
import random
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from learning_kills import kill_learning

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=0.1, help="of a label")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        choice = random.Random(options.seed)
        kills, twice = kill_learning(Path(folder), options.kills, choice, options.seconds)
    print(f"{kills} kills: no label lost, {twice} computed again that were not written")
