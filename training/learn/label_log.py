"""Labels of a learning run, in a file to which records are only ever appended."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import ase
import ase.io
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms

from sikff.atomic_write import complete
from sikff.graph.conditions import KEYS as CONDITIONS

DIGITS = 7  # of coordinates (Å) by which structures are told apart
Status = Literal["labelled", "failed", "refused"]


def structure_id(atoms: ase.Atoms) -> str:
    """Equal for the same atoms at the same places under the same conditions."""
    digest = hashlib.sha256(atoms.numbers.astype(np.int64).tobytes() + atoms.pbc.tobytes())
    for numbers in (atoms.cell.array, atoms.positions):
        digest.update((np.round(numbers, DIGITS) + 0.0).tobytes())
    digest.update(json.dumps(_conditions(atoms), sort_keys=True).encode())
    return digest.hexdigest()[:16]


def _conditions(atoms: ase.Atoms) -> dict[str, Any]:
    """Conditions of a structure as JSON."""
    found = {key: atoms.info[key] for key in CONDITIONS if atoms.info.get(key) is not None}
    return {
        k: v.tolist() if isinstance(v, np.ndarray | np.generic) else v for k, v in found.items()
    }


def structure_to_json(atoms: ase.Atoms) -> dict[str, Any]:
    """A structure as plain values, exactly: numbers are written so that they read back the same."""
    record: dict[str, Any] = {
        "numbers": atoms.numbers.tolist(),
        "positions": atoms.positions.tolist(),
    }
    if atoms.cell.array.any():
        record["cell"], record["pbc"] = atoms.cell.array.tolist(), atoms.pbc.tolist()
    if atoms.has("momenta"):
        record["momenta"] = atoms.arrays["momenta"].tolist()
    fixed = sorted({int(i) for c in atoms.constraints if isinstance(c, FixAtoms) for i in c.index})
    if fixed:
        record["fixed"] = fixed
    if conditions := _conditions(atoms):
        record["info"] = conditions
    return record


def structure_from_json(record: Mapping[str, Any]) -> ase.Atoms:
    """The structure that :func:`structure_to_json` wrote."""
    atoms = ase.Atoms(
        record["numbers"],
        positions=record["positions"],
        cell=record.get("cell"),
        pbc=record.get("pbc"),
    )
    if "momenta" in record:
        atoms.set_array("momenta", np.array(record["momenta"]))
    if "fixed" in record:
        atoms.set_constraint(FixAtoms(record["fixed"]))
    atoms.info |= record.get("info", {})
    return atoms


@dataclass(frozen=True)
class Request:
    """A structure to be labelled, and why.

    Attributes:
        atoms: the structure.
        use: "slab" (alone), "start", "fresh" (drawn evenly from dynamics: a measure), "picked"
            (uncertain), "survey" (where dynamics may not go), "final" (fresh, of the last
            training) or "site" (relaxed by the model).
        round: of the run.
        temperature: of the walker that found it, K; None: of none.
        deviation: largest of an atom in the committee, eV/Å.
    """

    atoms: ase.Atoms
    use: str
    round: int
    temperature: float | None = None
    deviation: float | None = None

    @property
    def id(self) -> str:
        return structure_id(self.atoms)

    def to_json(self) -> dict[str, Any]:
        about = {"use": self.use, "round": self.round, "temperature": self.temperature}
        about["deviation"] = self.deviation
        return {**about, "structure": structure_to_json(self.atoms)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Request:
        atoms = structure_from_json(record["structure"])
        keys = ("use", "round", "temperature", "deviation")
        return cls(atoms, *(record[key] for key in keys))


@dataclass(frozen=True)
class Answer:
    """What the reference says of a structure.

    Attributes:
        status: "labelled"; "failed", without a label; "refused", with one that is not used.
        results: energy (eV), forces [N, 3] (eV/Å) and perhaps stress [6] (eV/Å^3).
        reason: why it failed or was refused.
        seconds: that it took.
    """

    status: Status
    results: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    seconds: float = 0.0

    @property
    def energy(self) -> float | None:
        """eV; None without one."""
        return None if "energy" not in self.results else float(self.results["energy"])


@dataclass(frozen=True)
class Label:
    """A request with its answer."""

    request: Request
    answer: Answer

    @property
    def atoms(self) -> ase.Atoms:
        """The structure with its results, as those of a calculator."""
        atoms = self.request.atoms.copy()
        atoms.set_array("momenta", None)
        results = {**self.answer.results, "energy": float(self.answer.results["energy"])}
        atoms.calc = SinglePointCalculator(atoms, **results)
        return atoms

    @property
    def forces(self) -> np.ndarray:
        return np.asarray(self.answer.results["forces"])


class LabelLog:
    """The labels of a run, in memory and in a file of JSON lines.

    A record is on the disk before :meth:`append` returns. What a killed process left of a record
    is removed when the file is opened again.

    Args:
        path: of the file.

    Raises:
        ValueError: for a damaged file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._labels: dict[str, Label] = {}
        new = not path.exists()
        self._file = path.open("a+b")
        if new:
            _sync_folder(path.parent)
        try:
            self._read()
        except BaseException:
            self.close()
            raise

    def _read(self) -> None:
        self._file.seek(0)
        content = self._file.read()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            self._file.truncate(len(whole))
            os.fsync(self._file.fileno())
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                record = json.loads(line)
                answer = Answer(
                    record["status"],
                    {name: np.array(value) for name, value in record["results"].items()},
                    record["reason"],
                    record["seconds"],
                )
                label = Label(Request.from_json(record), answer)
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{str(self.path)!r}, line {number}: not a record of a label ({error!r}); "
                    "remove the line, and the label is asked for again"
                ) from error
            self._labels[record["id"]] = label

    def append(self, request: Request, answer: Answer) -> Label:
        """Writes a label; one that there is already stays."""
        if request.id in self._labels:
            return self._labels[request.id]
        results = {name: np.asarray(value).tolist() for name, value in answer.results.items()}
        record = {
            "id": request.id,
            "status": answer.status,
            **request.to_json(),
            "results": results,
            "reason": answer.reason,
            "seconds": round(answer.seconds, 4),
        }
        self._file.seek(0, os.SEEK_END)
        self._file.write(json.dumps(record).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        exact = {name: np.array(value) for name, value in results.items()}
        label = Label(request, Answer(answer.status, exact, answer.reason, answer.seconds))
        self._labels[request.id] = label
        return label

    def close(self) -> None:
        self._file.close()

    def find(self, request: Request) -> Label | None:
        """The label of a structure; None: it has never been asked for, or not been answered."""
        return self._labels.get(request.id)

    def __len__(self) -> int:
        """Number of structures that were asked for."""
        return len(self._labels)

    def __iter__(self) -> Iterator[Label]:
        return iter(self._labels.values())

    @property
    def labelled(self) -> list[Label]:
        """Those of the system, in the order of the file."""
        known = (label for label in self if label.request.use != "slab")
        return [label for label in known if label.answer.status == "labelled"]

    @property
    def failed(self) -> list[Label]:
        """Those that failed or were refused."""
        return [label for label in self if label.answer.status != "labelled"]

    def write_structures(self, folder: Path, given: Sequence[ase.Atoms]) -> None:
        """Writes data.xyz, what is given and labelled, and failed.xyz with reasons."""
        failed = [label.request.atoms.copy() for label in self.failed]
        for atoms, label in zip(failed, self.failed, strict=True):
            atoms.info |= {"status": label.answer.status, "reason": label.answer.reason}
        labelled = [*given, *(label.atoms for label in self.labelled)]
        for name, structures in (("data.xyz", labelled), ("failed.xyz", failed)):
            if structures:
                with complete(folder / name) as path:
                    ase.io.write(path, structures, format="extxyz")


def rms_force(labels: Sequence[Label]) -> float:
    """Root mean square of the force components, eV/Å."""
    components = np.concatenate([label.forces.ravel() for label in labels])
    return float(np.sqrt(np.mean(components**2)))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
