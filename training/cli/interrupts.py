"""Signals that ask a command to end: Ctrl-C, and those that queues send before they kill."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

from ..console import SIGNALS

UNHANDLED = (signal.SIG_DFL, signal.default_int_handler)
SOON, LATER = 0.01, 0.001  # s


class Interrupted(KeyboardInterrupt):
    """By a signal that the command has received."""

    def __init__(self, received: signal.Signals) -> None:
        super().__init__()
        self.signal = received


class Interrupts:
    """Makes a KeyboardInterrupt of the first signal inside, so that files are left whole.

    While the command ends after it, others change nothing: queues send several. Only Ctrl-C then
    ends the process at once. Signals that are ignored (in the background of a script) or that
    somebody else handles are left alone, and all of them outside the main thread.

    Python drops an exception that is raised in ``__del__`` or in a callback of C code, and would go
    on as if there had been no signal: a KeyboardInterrupt dropped there is raised again soon after.

    Attributes:
        received: the first signal.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}
        self._report_dropped = sys.unraisablehook
        self._soon = SOON

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            known = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
            for each in known:
                if signal.getsignal(each) in UNHANDLED:
                    self._before[each] = signal.signal(each, self._receive)
            sys.unraisablehook = self._dropped
        return self

    def __exit__(self, *error: object) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)
        if sys.unraisablehook == self._dropped:
            sys.unraisablehook = self._report_dropped

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is None and self._is_dropping(frame):  # an exception would be lost as well
            self._send_again(number)
        elif self.received is None:
            self.received = signal.Signals(number)
            raise Interrupted(self.received)
        elif number == signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def _dropped(self, error: sys.UnraisableHookArgs) -> None:
        """Receives the signal again if Python dropped the KeyboardInterrupt that it caused."""
        if self.received is None or not isinstance(error.exc_value, KeyboardInterrupt):
            self._report_dropped(error)
            return
        number, self.received = self.received, None
        self._send_again(number)

    def _is_dropping(self, frame: FrameType | None) -> bool:
        """Whether Python is about to drop an exception where a signal arrived."""
        while frame is not None and frame.f_code is not Interrupts._dropped.__code__:
            frame = frame.f_back
        return frame is not None

    def _send_again(self, number: int) -> None:
        again = threading.Timer(self._soon, os.kill, [os.getpid(), number])
        again.daemon = True  # it does not keep a command that ends at that moment
        self._soon = 2 * self._soon + LATER  # busy machines take longer to drop an exception
        again.start()
