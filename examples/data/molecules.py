"""Generate ``molecules.sdf.gz`` and ``molecules.sdf.csv``: a small stand-in for QM9.

Molecules
    Neutral closed-shell molecules of C, H, N, O and F with 3 to 7 heavy atoms. Each begins with a
    small core (an atom, a multiple bond, an aromatic ring) and grows by random atoms, bonds and
    ring closures; RDKit fills up hydrogens and sanitises. Left out are bonds that are rarely
    stable (see ``UNSTABLE``), and what was there before, by canonical SMILES.

Geometries
    ETKDG and MMFF94 with RDKit, then relaxed with GFN2-xTB (tblite) to 0.03 eV/Å, turned by a
    random rotation. A molecule whose bonds are no longer those of its graph is left out, and so is
    one with a gap below 1 eV: one determinant does not describe it.

Properties
    GFN2-xTB at the geometry as it is stored: ``mu`` in Debye, ``homo``, ``lumo`` and ``gap`` in
    Hartree, the columns and units of QM9's gdb9.sdf.csv. Bonds are stored as in gdb9.sdf, single,
    double and triple (aromatic rings in one Kekulé form).

What has been labelled is kept in ``<output>.partial``; an interrupted run continues from it and
removes it when it has finished. The seed fixes everything, for one version of RDKit.

Needs ``pip install rdkit tblite ase``::

    OMP_NUM_THREADS=1 python molecules.py --workers 4
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import multiprocessing
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.optimize import LBFGS
from ase.units import Bohr, Debye, Hartree
from rdkit import Chem, RDLogger
from rdkit.Chem import AllChem
from scipy.spatial.transform import Rotation
from tblite.ase import TBLite
from tblite.interface import Calculator

VALENCES = {"C": 4, "N": 3, "O": 2, "F": 1}
ELEMENTS = {"C": 0.66, "N": 0.14, "O": 0.15, "F": 0.05}  # how often an atom is added
ORDERS = {1: 0.78, 2: 0.16, 3: 0.06}
RING_CLOSURES = {0: 0.6, 1: 0.3, 2: 0.1}
HEAVY_ATOMS = {3: 0.01, 4: 0.04, 5: 0.12, 6: 0.3, 7: 0.53}
CORES = {
    "C": 0.4,
    "C=C": 0.08,
    "C#C": 0.05,
    "C#N": 0.06,
    "C=O": 0.1,
    "C=N": 0.05,
    "C1=CC=CC=C1": 0.06,
    "C1=CC=NC=C1": 0.05,
    "C1=COC=C1": 0.05,
    "C1=CNC=C1": 0.05,
    "C1=CN=CN1": 0.05,
}
BONDS = {1: Chem.BondType.SINGLE, 2: Chem.BondType.DOUBLE, 3: Chem.BondType.TRIPLE}
UNSTABLE = [
    Chem.MolFromSmarts(pattern)
    for pattern in (
        "[N,O,F]~[N,O]~[N,O,F]",
        "[O]~[O]",
        "[N,O]~[F]",
        "[r3,r4,r5,r6,r7]#*",
        "[R]=[R]=*",
        "[r3]=[r3]",
        "[a;r3,r4]",
        "[O,N,F;!a][CX4][O,N,F;!a]",
    )
]
SMALLEST_GAP = 1.0  # eV
LONGEST = 1.25  # of a bond, in sums of covalent radii; other pairs are farther apart
FMAX, STEPS = 0.03, 300  # eV/Å
COLUMNS = ("mu", "homo", "lumo", "gap")


# --- graphs -------------------------------------------------------------------------------------


def pick(rng: np.random.Generator, chances: dict) -> object:
    """One of the keys."""
    keys, weights = list(chances), np.array(list(chances.values()))
    return keys[rng.choice(len(keys), p=weights / weights.sum())]


def free(atom: Chem.Atom) -> int:
    """Bonds that a heavy atom can still make."""
    used = sum(bond.GetBondTypeAsDouble() for bond in atom.GetBonds())
    return VALENCES[atom.GetSymbol()] - round(used)


def grow(rng: np.random.Generator) -> Chem.Mol | None:
    """A random molecule without hydrogens; None if it is not to be had in reality."""
    mol = Chem.RWMol(Chem.MolFromSmiles(pick(rng, CORES), sanitize=False))
    n_heavy = max(pick(rng, HEAVY_ATOMS), mol.GetNumAtoms())
    while mol.GetNumAtoms() < n_heavy:
        hosts = [atom for atom in mol.GetAtoms() if free(atom)]
        if not hosts:
            return None
        host, symbol = hosts[rng.integers(len(hosts))], pick(rng, ELEMENTS)
        order = min(pick(rng, ORDERS), free(host), VALENCES[symbol])
        mol.AddBond(host.GetIdx(), mol.AddAtom(Chem.Atom(symbol)), BONDS[order])
    for _ in range(pick(rng, RING_CLOSURES)):
        hosts = [atom.GetIdx() for atom in mol.GetAtoms() if free(atom)]
        if len(hosts) < 2:
            break
        i, j = (int(k) for k in rng.choice(hosts, 2, replace=False))
        if mol.GetBondBetweenAtoms(i, j) is None:
            mol.AddBond(i, j, Chem.BondType.SINGLE)
    mol = mol.GetMol()
    Chem.SanitizeMol(mol)
    return None if any(mol.HasSubstructMatch(pattern) for pattern in UNSTABLE) else mol


def candidates(count: int, seed: int) -> Iterator[str]:
    """`count` different canonical SMILES."""
    rng, seen = np.random.default_rng(seed), set()
    while len(seen) < count:
        mol = grow(rng)
        smiles = None if mol is None else Chem.MolToSmiles(mol)
        if smiles is not None and smiles not in seen:
            seen.add(smiles)
            yield smiles


# --- geometries and labels ----------------------------------------------------------------------


def label(smiles: str) -> dict | None:
    """A mol block and the properties; None if the molecule cannot be built, or does not last."""
    RDLogger.DisableLog("rdApp.*")
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    if AllChem.EmbedMolecule(mol, randomSeed=0) < 0 or not AllChem.MMFFHasAllMoleculeParams(mol):
        return None
    AllChem.MMFFOptimizeMolecule(mol, maxIters=2000)
    symbols = [atom.GetSymbol() for atom in mol.GetAtoms()]
    atoms = Atoms(symbols, mol.GetConformer().GetPositions())
    atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
    if not LBFGS(atoms, logfile=None).run(fmax=FMAX, steps=STEPS) or not keeps_bonds(mol, atoms):
        return None
    rng = np.random.default_rng(list(smiles.encode()))
    turn = Rotation.from_quat(rng.normal(size=4))  # normalised: uniform in SO(3)
    atoms.positions = np.round(turn.apply(atoms.positions - atoms.positions.mean(axis=0)), 4)
    for index, position in enumerate(atoms.positions):
        mol.GetConformer().SetAtomPosition(index, position.tolist())
    known = properties(atoms)
    if known["gap"] * Hartree < SMALLEST_GAP:
        return None
    return {"block": Chem.MolToMolBlock(mol), **known}


def keeps_bonds(mol: Chem.Mol, atoms: Atoms) -> bool:
    """Whether atoms are close exactly where there is a bond."""
    radii = covalent_radii[atoms.numbers]
    near = atoms.get_all_distances() < LONGEST * (radii[:, None] + radii)
    np.fill_diagonal(near, False)
    return bool((near == Chem.GetAdjacencyMatrix(mol).astype(bool)).all())


def properties(atoms: Atoms) -> dict[str, float]:
    """Dipole moment (D) and frontier orbitals (Hartree)."""
    calculator = Calculator("GFN2-xTB", atoms.numbers, atoms.positions / Bohr)
    calculator.set("verbosity", 0)
    result = calculator.singlepoint()
    dipole = np.linalg.norm(result.get("dipole")) * Bohr / Debye
    energies, occupations = result.get("orbital-energies"), result.get("orbital-occupations")
    homo, lumo = energies[occupations > 1].max(), energies[occupations < 1].min()
    numbers = {"mu": dipole, "homo": homo, "lumo": lumo, "gap": lumo - homo}
    return {name: round(float(number), 6) for name, number in numbers.items()}


# --- files --------------------------------------------------------------------------------------


def write(path: Path, content: bytes) -> None:
    """All or nothing."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def write_molecules(output: Path, found: list[dict]) -> None:
    """The SDF and, beside it, the CSV."""
    names = [f"xtb_{k + 1}" for k in range(len(found))]
    blocks = [name + each["block"] + "$$$$\n" for name, each in zip(names, found, strict=True)]
    write(output, gzip.compress("".join(blocks).encode(), mtime=0))
    table = output.with_name(output.name.removesuffix(".gz") + ".csv")
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("mol_id", *COLUMNS))
    for name, each in zip(names, found, strict=True):
        rows.writerow((name, *(each[column] for column in COLUMNS)))
    write(table, text.getvalue().encode())


def generate(output: Path, count: int, seed: int, workers: int) -> None:
    """Write the data set, continuing an interrupted run."""
    partial = output.with_name(output.name + ".partial")
    done = json.loads(partial.read_text()) if partial.exists() else {}
    smiles = list(candidates(2 * count, seed))
    start, todo = time.perf_counter(), [each for each in smiles if each not in done]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for each, result in zip(todo, pool.imap(label, todo, chunksize=8), strict=True):
            done[each] = result
            n_found = sum(map(bool, done.values()))
            if len(done) % 100 == 0:
                write(partial, json.dumps(done).encode())
                minutes = (time.perf_counter() - start) / 60
                print(f"{n_found} of {len(done)} molecules in {minutes:.1f} min", flush=True)
            if n_found == count:
                break
    found = [done[each] for each in smiles if done.get(each)]
    if len(found) < count:
        raise SystemExit(f"only {len(found)} of {len(smiles)} molecules last; expected {count}")
    write_molecules(output, found)
    partial.unlink(missing_ok=True)
    print(f"wrote {output}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).with_name("molecules.sdf.gz")
    parser.add_argument("--output", type=Path, default=default, help="an .sdf.gz file")
    parser.add_argument("--count", type=int, default=2000, help="number of molecules")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    generate(options.output, options.count, options.seed, options.workers)


if __name__ == "__main__":
    main()
