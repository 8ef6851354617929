"""Progress bars."""

import itertools
import sys

import pytest

from sikff.training.console import counted, progress_bar


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


def test_bars_appear_with_their_first_progress(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with pytest.raises(ValueError, match="refused"), progress_bar(total=2):
        raise ValueError("refused")
    assert not capsys.readouterr().err
    with progress_bar(total=2) as bar:
        bar.update()
    assert "1/2" in capsys.readouterr().err
    with progress_bar(total=2, disable=True) as bar:
        bar.update()
    assert not capsys.readouterr().err


def test_one_thing_has_no_plural():
    assert [counted(n, "atom") for n in (0, 1, 2)] == ["0 atoms", "1 atom", "2 atoms"]
