"""How much a round asks, trains and explores: by the time that a label takes."""

from __future__ import annotations

FINAL = 20  # structures that measure the last training
CHEAP = 1.0  # s, a label that costs less than learning
DEAR = 20.0  # s, a label that costs far more
SHARE = 0.1  # of the time of labels, that learning takes before it does no more than for cheap ones
LEAST_MEMBERS = 2
STARTS = 10
SITES = 6  # labels that compare adsorption energies with the reference
CHECK = 10  # steps between checks of walkers
MOST_WALKING = 600  # atoms in the batch of walkers
WALKERS = 3  # for each temperature
ROUNDS, LATER = {1: 300, 2: 800}, 1500  # steps of walkers in the first rounds, and in later ones
# Steps of the optimiser, and more for every structure: of members that go on, of members from
# random weights, of the last training.
WARM, SCRATCH, LAST = (300, 3), (300, 8), (800, 14)
MOST_STEPS = 6000


def n_members(seconds: float) -> int:
    """Models of the committee, by the seconds of a label."""
    return LEAST_MEMBERS if seconds < CHEAP else 3 if seconds < DEAR else 4


def n_fresh(round_: int, breadth: int) -> int:
    """Structures drawn evenly from dynamics: early ones are worth little."""
    return (6 if round_ == 1 else 8) * (1 + breadth) // 2


def n_picked(round_: int, breadth: int) -> int:
    """Uncertain structures, at most."""
    return {1: 4, 2: 8}.get(round_, 12) * (breadth if breadth == 1 else breadth - 1)


def n_surveyed(round_: int, breadth: int) -> int:
    """Structures that dynamics may not reach, at most: of surfaces, in place of picked ones."""
    return 0 if breadth == 1 else n_picked(round_, 1)


def n_walkers(temperatures: int, atoms: int) -> int:
    """Walkers at each temperature."""
    return max(1, min(WALKERS, MOST_WALKING // (temperatures * atoms)))


def n_steps(round_: int, seconds: float) -> int:
    """Steps of dynamics of each walker: long ones see other conformers, but the first models know
    only what is near."""
    steps = ROUNDS.get(round_, LATER)
    return steps if seconds < CHEAP else 2 * steps


def training_steps(structures: int, seconds: float, kind: tuple[int, int]) -> int:
    """Steps of the optimiser.

    Args:
        structures: number of them.
        seconds: of a label.
        kind: WARM, SCRATCH or LAST.
    """
    steps = min(kind[0] + kind[1] * structures, MOST_STEPS)
    return steps if seconds < CHEAP else 2 * steps
