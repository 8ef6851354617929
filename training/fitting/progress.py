"""One progress bar for a whole run."""

from __future__ import annotations

from typing import Any

import lightning as L

from ..console import progress_bar


class RunProgress(L.Callback):
    """Shows the part of the run that is done, the epoch and the latest validation errors."""

    def on_train_start(self, trainer: L.Trainer, module: Any) -> None:
        self._bar = progress_bar(
            total=100.0,
            initial=self._percent(module),
            disable=not trainer.is_global_zero,
            bar_format="{percentage:3.0f}% |{bar}| {elapsed} < {remaining}{postfix}",
        )

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, *_: Any) -> None:
        self._bar.update(self._percent(module) - self._bar.n)

    def on_train_epoch_end(self, trainer: L.Trainer, module: Any) -> None:
        self.on_train_batch_end(trainer, module)
        errors = {name: f"{value:.3g}" for name, value in module.shown.items()}
        self._bar.set_postfix({"epoch": module.current_epoch, **errors}, refresh=False)

    def on_train_end(self, trainer: L.Trainer, module: Any) -> None:
        self._bar.close()

    def on_exception(self, trainer: L.Trainer, module: Any, exception: BaseException) -> None:
        self._bar.close()

    @staticmethod
    def _percent(module: Any) -> float:
        return min(100.0, 100.0 * module.progress())
