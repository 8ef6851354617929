"""Bond lengths of a long trajectory against those of labelled frames: measured only.

    sikff md MODEL start.xyz --ensemble nvt --temperature 500 --timestep 1 --steps 500000 \
        --every 500 --compile --trajectory md.traj
    python tests/benchmarks/bond_lengths.py md.traj train_300K.xyz train_mixedT.xyz

Bonds are pairs nearer than 1.25 times the sum of their covalent radii in the first frame of the
trajectory. Prints for each kind of bond its least and largest length (Å), and in how many frames
of the trajectory any bond is shorter or longer than in all frames of a file, and by how much.
"""

from __future__ import annotations

import argparse
from itertools import combinations

import ase
import ase.io
import numpy as np
from ase.data import covalent_radii

REACH = 1.25


def bonds(atoms: ase.Atoms) -> list[tuple[int, int]]:
    """Pairs of bonded atoms."""
    radii = covalent_radii[atoms.numbers]
    pairs = combinations(range(len(atoms)), 2)
    return [(i, j) for i, j in pairs if atoms.get_distance(i, j) < REACH * (radii[i] + radii[j])]


def lengths(frames: list[ase.Atoms], pairs: list[tuple[int, int]]) -> np.ndarray:
    """[frames, pairs] Å."""
    i, j = np.array(pairs).T
    return np.array([np.linalg.norm(f.positions[i] - f.positions[j], axis=1) for f in frames])


def main() -> None:
    parser = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trajectory")
    parser.add_argument("references", nargs="+", help="labelled frames of the same molecule")
    options = parser.parse_args()
    files = {name: ase.io.read(name, ":") for name in (options.trajectory, *options.references)}
    first = files[options.trajectory][0]
    for name, frames in files.items():
        if not all(np.array_equal(frame.numbers, first.numbers) for frame in frames):
            raise SystemExit(f"{name} has other atoms, or in another order, than the trajectory")
    pairs = bonds(first)
    kinds = np.array(["-".join(sorted((first[i].symbol, first[j].symbol))) for i, j in pairs])
    found = {name: lengths(frames, pairs) for name, frames in files.items()}
    print("| bonds | number | " + " | ".join(found) + " |\n|---|---|" + "---|" * len(found))
    for kind in sorted(set(kinds)):
        ranges = (values[:, kinds == kind] for values in found.values())
        cells = (f"{values.min():.3f} to {values.max():.3f}" for values in ranges)
        print(f"| {kind} | {(kinds == kind).sum()} | " + " | ".join(cells) + " |")
    of_md = found.pop(options.trajectory)
    for name, values in found.items():
        beyond = np.zeros_like(of_md)
        for kind in set(kinds):
            ours, theirs = of_md[:, kinds == kind], values[:, kinds == kind]
            beyond[:, kinds == kind] = np.maximum(theirs.min() - ours, ours - theirs.max())
        outside = (beyond > 0).any(axis=1)
        print(
            f"outside the range of {name}: {outside.sum()} of {len(of_md)} frames, "
            f"by {max(beyond.max(), 0):.3f} Å at most"
        )


if __name__ == "__main__":
    main()
