"""The log of a run: a row for each epoch, in log.csv and optionally for TensorBoard."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Mapping
from pathlib import Path

from sikff.atomic_write import complete


class RunLog:
    """Appends rows to ``log.csv`` in a folder.

    Args:
        folder: of the run.
        tensorboard: write event files to ``tensorboard/`` in the folder as well.

    Raises:
        ValueError: if TensorBoard is asked for and not installed.
    """

    def __init__(self, folder: Path, tensorboard: bool = False) -> None:
        if tensorboard and importlib.util.find_spec("tensorboard") is None:
            raise ValueError(
                "tensorboard is true but TensorBoard is not installed; run "
                "`pip install tensorboard` or leave tensorboard out (log.csv is always written)"
            )
        self.path, self.events = folder / "log.csv", folder / "tensorboard"
        self.tensorboard = tensorboard

    def rewind(self, epoch: int) -> None:
        """Removes rows of this epoch and later ones, and incomplete rows, before they run again."""
        if not self.path.is_file():
            return
        with self.path.open(newline="", encoding="utf-8") as file:
            lines = csv.reader(file)
            header = next(lines, [])
            kept = [row for row in lines if len(row) == len(header)]
        kept = [row for row in kept if int(row[0]) < epoch]
        if not kept:
            self.path.unlink()
            return
        with (
            complete(self.path) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            csv.writer(file).writerows([header, *kept])

    def append(self, row: Mapping[str, float]) -> None:
        """Writes a row; its first entry is "epoch", and all rows have the same entries.

        Raises:
            OSError: if it cannot be written. Part of it may be: :meth:`rewind` removes that.
        """
        new = not self.path.exists()
        try:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, row)
                if new:
                    writer.writeheader()
                writer.writerow(row)
        except OSError as error:
            raise OSError(
                error.errno, f"cannot append: {error.strerror}", str(self.path)
            ) from error
        if self.tensorboard:
            self._append_events(row)

    def _append_events(self, row: Mapping[str, float]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        epoch = int(row["epoch"])
        with SummaryWriter(self.events, purge_step=epoch) as writer:
            for name, value in row.items():
                writer.add_scalar(name, value, epoch)
