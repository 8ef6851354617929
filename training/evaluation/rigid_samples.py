"""Mean Boltzmann factors of a rigid molecule above a place, over heights and orientations."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from scipy.stats import qmc

from sikff.calculators import SIKFFCalculator
from sikff.graph import AtomicGraph

from .adsorbate import Adsorbate

Array = np.ndarray
Energies = Callable[[Array], Array]  # positions [B, n, 3] -> eV [B]

QUADRATURE = 0.01  # Å, between heights of an atom
BATCH = 512
HOTTER = (16.0, 4.0, 1.0, 1.0)  # times the temperature, in turn, at which samples are chosen
UNIFORM = 0.2  # share of samples that are drawn anywhere
CENTRES = 512  # about which others are drawn
WIDTHS = ((0.2, 0.4), (0.07, 0.15))  # Å and rad, of the others about those chosen before


class Factors(NamedTuple):
    """Integrals of exp(-U/kT) over bins of the height (Å), averaged over orientations.

    Attributes:
        factors: [k]; errors: standard errors of them; total_error: of their sum.
    """

    factors: Array
    errors: Array
    total_error: float


def energies_of(adsorbate: Adsorbate) -> Energies:
    """The function from positions [B, n, 3] of the rigid molecule to its energies (eV), zero in
    vacuum: of force fields in batches, of other calculators one after the other."""

    def one_by_one(positions: Array) -> Array:
        return np.array([adsorbate.energy(adsorbate.above(each)) for each in positions])

    calculator = adsorbate.calculator
    if not isinstance(calculator, SIKFFCalculator) or adsorbate.slab is not None:
        return one_by_one
    atoms = adsorbate.above(adsorbate.free.positions)
    graphs = []
    for model in calculator.models:  # edges are those of the rigid molecule
        arguments = (atoms, model.cutoff, model.elements)
        graph = AtomicGraph.from_atoms(*arguments, surfaces=model.surfaces)
        graphs.append(graph.to(calculator.device))

    def in_batches(positions: Array) -> Array:
        found = []
        for start in range(0, len(positions), BATCH):
            chunk = torch.from_numpy(positions[start : start + BATCH]).to(calculator.device)
            total = torch.zeros(len(chunk), dtype=torch.float64, device=calculator.device)
            for model, graph in zip(calculator.models, graphs, strict=True):
                batch = AtomicGraph.batch_of([graph] * len(chunk))
                batch = dataclasses.replace(batch, positions=chunk.reshape(-1, 3))
                with torch.inference_mode():
                    total += model(batch, forces=False).energy.double()
            found.append(total.cpu().numpy() / len(graphs) - adsorbate.zero)
        return np.concatenate(found)

    return in_batches


def boltzmann_factors(
    adsorbate: Adsorbate,
    energies: Energies,
    point: Array,
    kt: float,
    bins: Array,
    samples: int,
    seed: int = 0,
) -> Factors:
    """Integrals over the heights in each bin above a point [3].

    Those of an atom are sums over equidistant heights. For a molecule heights and orientations are
    drawn near those that were found to have low energies, first at higher temperatures
    (population Monte Carlo), and weighted by exp(-U/kT) over the density of the draws; so the
    result has a statistical error, but no other.

    Args:
        kt: eV.
        bins: edges [k + 1] (Å) of equal bins.
        samples: for a molecule.
    """
    width = bins[1] - bins[0]
    if len(adsorbate) == 1:
        count = int(np.ceil(width / QUADRATURE))
        offsets = (np.arange(count) + 0.5) / count * width
        heights = (bins[:-1, None] + offsets).ravel()
        inside = _boltzmann(
            adsorbate, energies, point, kt, heights, Rotation.identity(len(heights))
        )
        factors = inside.reshape(len(bins) - 1, count).mean(axis=1) * width
        return Factors(factors, np.zeros(len(factors)), 0.0)
    rng = np.random.default_rng(seed)
    height, turn = _uniform(samples, bins, rng)
    density = np.ones(samples)
    for hotter in HOTTER:
        weights = _boltzmann(adsorbate, energies, point, kt, height, turn, log=True)
        chosen = np.exp((weights - weights.max()) / hotter) / density
        centres = rng.choice(samples, min(samples, CENTRES), p=chosen / chosen.sum())
        height, turn, density = _draw(samples, height[centres], turn[centres], bins, rng)
    weights = _boltzmann(adsorbate, energies, point, kt, height, turn) / density
    weights *= (bins[-1] - bins[0]) / samples
    where = np.digitize(height, bins) - 1
    inside = (where >= 0) & (where < len(bins) - 1)
    weights, where = weights[inside], where[inside]
    factors, squares = (np.bincount(where, each, len(bins) - 1) for each in (weights, weights**2))
    errors = np.sqrt(np.maximum(squares - factors**2 / samples, 0))
    total = float(np.sqrt(max(squares.sum() - factors.sum() ** 2 / samples, 0)))
    return Factors(factors, errors, total)


def _boltzmann(
    adsorbate: Adsorbate,
    energies: Energies,
    point: Array,
    kt: float,
    height: Array,
    turn: Rotation,
    log: bool = False,
) -> Array:
    """exp(-U/kT) [B] or its logarithm; zero where an atom is below what the surface allows."""
    rigid = adsorbate.free.positions - adsorbate.anchor(adsorbate.free.positions)
    turned = np.einsum("bij,nj->bni", turn.as_matrix(), rigid)
    positions = turned + point + height[:, None, None] * adsorbate.surface.normal
    above = (adsorbate.surface.heights(positions) >= adsorbate.floors).all(axis=1)
    exponent = np.full(len(height), -np.inf)
    if above.any():
        exponent[above] = -energies(positions[above]) / kt
    return exponent if log else np.exp(exponent)


def _uniform(count: int, bins: Array, rng: np.random.Generator) -> tuple[Array, Rotation]:
    """Heights and orientations that fill the space evenly."""
    u = qmc.Sobol(4, seed=rng).random(count)
    height = bins[0] + u[:, 0] * (bins[-1] - bins[0])
    first, second = np.sqrt(1 - u[:, 1]), np.sqrt(u[:, 1])
    a, b = 2 * np.pi * u[:, 2], 2 * np.pi * u[:, 3]
    quaternions = [first * np.sin(a), first * np.cos(a), second * np.sin(b), second * np.cos(b)]
    return height, Rotation.from_quat(np.stack(quaternions, axis=1))  # Shoemake


def _draw(
    count: int, height: Array, turn: Rotation, bins: Array, rng: np.random.Generator
) -> tuple[Array, Rotation, Array]:
    """New heights and orientations about given ones, and their density against uniform ones."""
    anywhere = int(UNIFORM * count)
    kinds = rng.integers(len(WIDTHS), size=count)
    along, around = np.array(WIDTHS)[kinds].T
    centre = np.arange(count) % len(height)
    new_height = height[centre] + along * rng.normal(size=count)
    new_turn = Rotation.from_rotvec(around[:, None] * rng.normal(size=(count, 3))) * turn[centre]
    uniform_height, uniform_turn = _uniform(count, bins, rng)
    new_height[:anywhere] = uniform_height[:anywhere]
    new_turn = Rotation.concatenate([uniform_turn[:anywhere], new_turn[anywhere:]])
    up = new_height[:, None] - height
    cosines = abs(new_turn.as_quat() @ turn.as_quat().T).clip(max=1)
    angle = np.maximum(2 * np.arccos(cosines), 1e-6)
    haar = 2 * np.pi**2 * angle**2 / np.sin(angle / 2) ** 2  # of rotation vectors
    density = np.zeros(count)
    for a, r in WIDTHS:
        gauss = np.exp(-0.5 * (up / a) ** 2 - 0.5 * (angle / r) ** 2) * haar
        norm = (2 * np.pi) ** 2 * a * r**3 / (bins[-1] - bins[0])
        density += gauss.mean(axis=1) / norm / len(WIDTHS)
    inside = (new_height >= bins[0]) & (new_height <= bins[-1])
    return new_height, new_turn, (1 - anywhere / count) * density + anywhere / count * inside
