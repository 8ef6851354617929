"""The group tables in brief, to compare them between machines, threads and versions.

``python tests/canonical_tables.py`` prints them as JSON (or those of the
groups named). After a deliberate change of the tables
(old models then change their meaning!) write the output to tests/data/canonical_tables.json.
"""

import json
import sys

import numpy as np

from sikff.groups import SymmetryGroup
from sikff.groups.couplings import clebsch_gordan, endomorphisms, restriction

NAMES = (
    "O(3)", "SO(3)", "SO(2)", "C_inf_v", "C_inf_h", "D_inf", "D_inf_h",
    "C1", "Ci", "Cs", "C3", "C4", "C6v", "D2", "D3", "D3h", "D2d", "S4", "T", "Td", "Th", "Oh",
    "I", "Ih",
)  # fmt: skip


def digest(table: np.ndarray) -> float:
    """One number that changes with every entry's value, sign and place."""
    return float(np.ravel(table) @ np.cos(1.0 + np.arange(np.size(table))))


def tables(name: str) -> dict[str, list]:
    """Names, dimensions and digests of everything a model's meaning depends on."""
    group = SymmetryGroup(name)
    irreps = group.irreps(2)
    rng = np.random.default_rng(0)
    triples = [tuple(irreps[k] for k in rng.integers(len(irreps), size=3)) for _ in range(12)]
    triples += [(i, i, irreps[0]) for i in irreps]
    parities = (1, -1) if group.has_improper else (0,)
    degrees = [(l, p or (-1) ** l) for l in range(4) for p in parities]
    return {
        "names": [i.name for i in irreps],
        "content": [[i.dim, i.frequency, i.parity, i.type] for i in irreps],
        "embeddings": [digest(i.embedding) for i in irreps],
        "endomorphisms": [digest(endomorphisms(i)) for i in irreps],
        "clebsch_gordan": [digest(clebsch_gordan(*t)) for t in triples],
        "restrictions": [
            sum(digest((k + 1) * t) for k, (_, t) in enumerate(restriction(group, l, p)))
            for l, p in degrees
        ],
    }


if __name__ == "__main__":
    print(json.dumps({name: tables(name) for name in sys.argv[1:] or NAMES}, indent=1))
