"""What charge and unpaired electrons cost, as far as structures of one composition tell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sikff.graph import AtomicGraph


def charging_columns(graphs: Sequence[AtomicGraph], totals: Sequence[str]) -> np.ndarray:
    """Q and Q^2 / N of each structure of N atoms, for each total Q: [structures, 2 * totals].

    These are the sums of q_i and q_i^2 over atoms with equal shares.

    Args:
        totals: tensors of the graphs, "charge" and "unpaired".
    """
    values = np.array([[float(getattr(g, name)) for name in totals] for g in graphs])
    values = values.reshape(len(graphs), len(totals), 1)
    sizes = np.array([graph.n_atoms for graph in graphs])[:, None, None]
    return np.concatenate([values, values**2 / sizes], axis=2).reshape(len(graphs), -1)


def charging_energies(
    graphs: Sequence[AtomicGraph], energies: np.ndarray, totals: Sequence[str]
) -> np.ndarray:
    """Coefficients (eV) of the columns, by least squares of differences in energy.

    Only structures of the same atoms are compared, so E0s and bonds do not matter. A coefficient
    that they do not determine is as small as possible, zero if all of a composition have one total.

    Args:
        energies: of the structures (eV); those that are NaN do not count.
        totals: tensors of the graphs, "charge" and "unpaired".
    """
    known = np.flatnonzero(np.isfinite(energies))
    columns = charging_columns(graphs, totals)[known]
    names = [tuple(graphs[index].species.sort().values.tolist()) for index in known.tolist()]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    of_composition = np.array([numbers[name] for name in names], dtype=int)
    table = np.column_stack([columns, energies[known]])
    means = np.zeros((len(numbers), table.shape[1]))
    np.add.at(means, of_composition, table)
    means /= np.maximum(np.bincount(of_composition, minlength=len(numbers)), 1)[:, None]
    table = table - means[of_composition]
    solution, *_ = np.linalg.lstsq(table[:, :-1], table[:, -1], rcond=1e-8)
    return np.asarray(solution)
