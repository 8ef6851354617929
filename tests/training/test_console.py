"""Progress bars."""

import itertools
import sys

import pytest

from sikff.training.console import progress_bar


@pytest.mark.parametrize("terminal", [True, False])
def test_bars_update_often_in_terminals_and_seldom_in_files(terminal, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    now = itertools.count()  # a second for each look
    bar = progress_bar(total=90)
    monkeypatch.setattr(bar, "_time", lambda: bar.start_t + next(now))
    for _ in range(90):
        bar.update()
    written = capsys.readouterr().err.count("\r")
    assert written > 80 if terminal else 1 < written < 12
    bar.close()
