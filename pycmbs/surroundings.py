"""Corrects the environment that a process inherits: umask, descriptors, signals, variables."""

from __future__ import annotations

import os
import signal
import sys
import warnings

UMASK = 0o077
"""What the broker makes is its owner's alone."""

_KEPT = {signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ}
"""Signals that stay ignored: the first is what nohup asks for, the others Python ignores itself."""


def detach() -> None:
    """Make this process independent of its starter's descriptors, umask, signals and warning filters.

    For the main thread, before any file is opened: a file that got the number 1 would be written what is printed.
    """
    _open_standard_descriptors()
    os.umask(UMASK)
    _reset_signals()
    # A warning is for developers: it must not end a broker, whatever PYTHONWARNINGS says.
    warnings.filters[:] = [one for one in warnings.filters if one[0] != "error"]  # type: ignore[index]


def _open_standard_descriptors() -> None:
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest that is free: this one
        if getattr(sys, name) is None:
            stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115 - for as long as we run
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def _reset_signals() -> None:
    for number in signal.valid_signals() - _KEPT:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
