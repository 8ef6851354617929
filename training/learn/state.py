"""Where a learning run is: all that it needs to go on, in one file that is replaced as a whole."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sikff.atomic_write import complete

from ..simulation.walkers import Walker
from .label_log import Request, structure_from_json, structure_to_json

NAME = "state.json"
FORMAT = "sikff learning run, version 1"
Phase = Literal[
    "probe", "label", "train", "explore", "last training", "last labels", "sites", "end"
]
PARTS = ("labels", "training", "exploration", "last training")


@dataclass
class State:
    """Where a run is.

    Attributes:
        phase: what comes next.
        round: number, from 0.
        requests: structures that this round asks for.
        walkers: where they are.
        limit: deviation at which walkers stop, in units of calibrated error, eV/Å; 0: not set.
        calibration: error over deviation.
        patience: factor of the target at which a last training is worth while.
        members: models of the committee; 0: not chosen.
        rounds: a row for the report of each round.
        points: for the report: deviation, error (eV/Å) and use of structures.
        result: of the last training: force_mae, energy_mae and so on.
        seconds: spent, by part.
    """

    phase: Phase = "probe"
    round: int = 0
    requests: list[Request] = field(default_factory=list)
    walkers: list[Walker] = field(default_factory=list)
    limit: float = 0.0
    calibration: float = 2.0
    patience: float = 1.0
    members: int = 0
    rounds: list[dict[str, Any]] = field(default_factory=list)
    points: list[tuple[float, float, str]] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))

    def write(self, folder: Path) -> None:
        """Replaces the file in a folder."""
        record = {
            "format": FORMAT,
            **vars(self),
            "requests": [request.to_json() for request in self.requests],
            "walkers": [
                {
                    "structure": structure_to_json(walker.atoms),
                    "temperature": walker.temperature,
                    "moves": walker.moves,
                }
                for walker in self.walkers
            ],
        }
        with complete(folder / NAME) as path:
            path.write_text(json.dumps(record), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> State:
        """Reads the file in a folder.

        Raises:
            ValueError: if this version of sikff did not write it.
        """
        path = folder / NAME
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            known = record.pop("format")
            if known != FORMAT:
                raise ValueError(f"it is a {known}")
            record["requests"] = [Request.from_json(each) for each in record["requests"]]
            record["walkers"] = [
                Walker(structure_from_json(w["structure"]), w["temperature"], w["moves"])
                for w in record["walkers"]
            ]
            record["points"] = [tuple(each) for each in record["points"]]
            return cls(**record)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"cannot resume from {str(path)!r}: expected a {FORMAT} ({error}). The labels are "
                "in labels.jsonl and data.xyz: give data.xyz as `data` of a new run"
            ) from error
