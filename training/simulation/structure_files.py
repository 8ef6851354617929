"""Structure files of simulations: the start, trajectories, results."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Literal

import ase
import ase.io
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.formats import UnknownFileTypeError, filetype, ioformats
from ase.io.trajectory import Trajectory

from sikff.atomic_write import complete
from sikff.lock import lock

from ..data.reading import read_atoms


def read_structure(path: str | Path) -> ase.Atoms:
    """Reads the last structure of a file, with its constraints.

    Raises:
        FileNotFoundError, ValueError: if it is missing, unreadable or empty.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no structure file {str(path)!r}")
    atoms = read_atoms(Path(path), last=True)[-1]
    if not len(atoms):
        raise ValueError(f"{str(path)!r} holds no atoms")
    return atoms


def check_format(path: str | Path) -> None:
    """Checks that ASE can write the format that a file name stands for.

    Raises:
        ValueError: if it cannot.
    """
    try:
        known = ioformats[filetype(str(path), read=False)].can_write
    except (UnknownFileTypeError, KeyError):
        known = False
    if not known:
        raise ValueError(f"ASE cannot write {str(path)!r}; expected a name such as a.extxyz")


def locked(path: str | Path) -> AbstractContextManager[str]:
    """Refuses a file that another command writes, and keeps it from others inside; see `lock`."""
    return lock(Path(path), "wait until it has ended, end it, or choose another name")


def write_structures(path: str | Path, atoms: ase.Atoms | Sequence[ase.Atoms]) -> None:
    """Writes one structure or several in the format of the suffix.

    Raises:
        ValueError: if ASE has no such format, or it cannot hold these atoms.
        OSError: if the file cannot be written.
    """
    for each in [atoms] if isinstance(atoms, ase.Atoms) else atoms[-1:]:
        _warn_of_lost_constraints(Path(path), each)
    with complete(path) as temporary:
        try:
            ase.io.write(temporary, atoms)
        except OSError:
            raise
        except Exception as error:  # writers of ASE raise anything
            raise ValueError(f"ASE cannot write {str(path)!r} ({error!r})") from error


@contextmanager
def frame_writer(
    atoms: ase.Atoms, path: str | Path | list[ase.Atoms] | None, mode: Literal["w", "a"] = "w"
) -> Iterator[Callable[[], None]]:
    """Yields a function that appends the present atoms to a trajectory, or does nothing.

    Args:
        path: of the trajectory; a list: copies with energy and forces are appended to it; None:
            none is written.
        mode: whether it is a new file, or one to append to.

    Raises:
        ValueError: for a suffix other than .traj, .xyz and .extxyz.
    """
    if path is None:
        yield lambda: None
        return
    if isinstance(path, list):
        frames = path
        yield lambda: frames.append(_frozen_copy(atoms))
        return
    path = Path(path)
    if path.suffix not in (".traj", ".xyz", ".extxyz"):
        raise ValueError(f"trajectory {str(path)!r}: expected a name in .traj, .xyz or .extxyz")
    path.parent.mkdir(parents=True, exist_ok=True)
    _warn_of_lost_constraints(path, atoms)
    if path.suffix == ".traj":
        with Trajectory(path, mode, atoms) as trajectory:
            yield trajectory.write
    else:
        with path.open(mode, encoding="utf-8") as file:

            def write() -> None:
                frame = io.StringIO()
                ase.io.write(frame, atoms, format="extxyz")
                file.write(frame.getvalue())  # at once: an interrupt must not leave a part of it
                file.flush()

            yield write


def _frozen_copy(atoms: ase.Atoms) -> ase.Atoms:
    """A copy whose results are those at present."""
    copy = atoms.copy()
    results = {name: atoms.calc.get_property(name, atoms) for name in ("energy", "forces")}
    copy.calc = SinglePointCalculator(copy, **results)
    return copy


def _warn_of_lost_constraints(path: Path, atoms: ase.Atoms) -> None:
    lost = {type(each).__name__ for each in atoms.constraints} - {"FixAtoms", "FixCartesian"}
    if lost and path.suffix in (".xyz", ".extxyz"):
        warnings.warn(f"{path} cannot hold {', '.join(sorted(lost))}; a .traj can", stacklevel=3)
