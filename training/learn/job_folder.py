"""Labels from elsewhere: structures wait in folders until somebody has computed them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import ase
import ase.io
import numpy as np
from ase.geometry import find_mic

from sikff.atomic_write import complete

from .label_log import Answer, Request
from .reference import OnAnswer, judged

STRUCTURE = "structure.xyz"
FAILED = "failed"
MOVED = 0.02  # Å; a label further away is of another structure

HOW = """\
Structures to be labelled, one in each folder: structure.xyz. Write energy (eV) and forces (eV/Å) of
it to {result} in the same folder, in any format of ASE; atoms may be in another order and wrapped,
and a molecule elsewhere, in a box. If the calculation fails, make a file `failed` with the reason
instead. Then run `sikff learn` with --resume.
"""


class LabelsMissingError(Exception):
    """Structures wait for labels that somebody else computes.

    Attributes:
        count: structures.
        folder: where they are.
    """

    def __init__(self, count: int, folder: Path) -> None:
        super().__init__(
            f"{count} structures in {str(folder)!r} wait for their labels; --resume goes on when "
            "they are there"
        )
        self.count, self.folder = count, folder


class JobFolder:
    """Answers with the results that are in folders, and writes the structures for those to come.

    Args:
        folder: of these folders.
        result: file in each that holds the label, in any format of ASE.
    """

    def __init__(self, folder: Path, result: str) -> None:
        self.folder, self.result = folder, result

    def answer(self, requests: Sequence[Request], on_answer: OnAnswer) -> None:
        """As of any reference.

        Raises:
            LabelsMissingError: if some are not there yet.
            ValueError: for a result that is of another structure, or cannot be read.
        """
        missing = 0
        for request in requests:
            job = self.folder / request.id
            if (job / FAILED).is_file():
                words = " ".join((job / FAILED).read_text(encoding="utf-8").split())
                on_answer(request, Answer("failed", reason=words or "failed, without a reason"))
            elif (job / self.result).is_file():
                on_answer(request, self._read(request, job / self.result))
            else:
                missing += 1
                self._write(request, job)
        if missing:
            raise LabelsMissingError(missing, self.folder)

    def close(self) -> None:
        pass

    def _write(self, request: Request, job: Path) -> None:
        readme = self.folder / "README.txt"
        if not readme.exists():
            with complete(readme) as path:
                path.write_text(HOW.format(result=self.result), encoding="utf-8")
        if not (job / STRUCTURE).exists():
            atoms = request.atoms.copy()
            atoms.set_array("momenta", None)
            atoms.set_constraint()
            with complete(job / STRUCTURE) as path:
                ase.io.write(path, atoms, format="extxyz", write_results=False)

    def _read(self, request: Request, path: Path) -> Answer:
        try:
            found = cast(ase.Atoms, ase.io.read(path))
            forces, energy = found.get_forces(apply_constraint=False), found.get_potential_energy()
            results = {**found.calc.results}
        except Exception as error:  # readers of ASE raise anything
            raise ValueError(
                f"cannot read energy and forces in {str(path)!r} ({' '.join(repr(error).split())})"
                "; if it is being written, wait; otherwise correct it, or replace it by a file "
                "`failed` with the reason"
            ) from error
        order = _matched(request.atoms, found, path)
        energy = results.get("free_energy", energy)
        answer: dict[str, Any] = {"energy": float(energy), "forces": np.array(forces)[order]}
        if request.atoms.pbc.all() and "stress" in results:
            answer["stress"] = np.array(found.get_stress())
        return judged(answer, 0.0)


def _matched(asked: ase.Atoms, found: ase.Atoms, path: Path) -> np.ndarray:
    """The number in `found` of each atom asked for, which may be in another cell and order.

    Along what is not periodic it may be elsewhere, such as in the middle of a box.
    """
    if len(asked) == len(found):
        order = np.zeros(len(asked), dtype=np.int64)
        periodic, _ = np.linalg.qr(asked.cell.array[asked.pbc].T)  # [3, directions]
        shift = (asked.positions - found.positions).mean(0)
        shift -= periodic @ (periodic.T @ shift)
        for index, atom in enumerate(asked):
            steps = found.positions + shift - atom.position
            if asked.pbc.any():
                steps, _ = find_mic(steps, asked.cell, asked.pbc)
            distances = np.linalg.norm(steps, axis=1)
            order[index] = np.argmin(distances + 1e3 * (found.numbers != atom.number))
            if distances[order[index]] > MOVED or found.numbers[order[index]] != atom.number:
                break
        else:
            if len(set(order.tolist())) == len(asked):
                return order
    raise ValueError(
        f"{str(path)!r} is of another structure than {STRUCTURE} beside it: expected the same "
        f"atoms within {MOVED:g} Å (a single point, no relaxation)"
    )
