"""Processes forked after torch has used several threads, where parallel operations would hang."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

MODEL = str(Path(__file__).parent / "data" / "format_1" / "O3.sikff")
# In a process of its own: the fork would copy the threads of pytest as well.
PROGRAM = """
import multiprocessing, sys, warnings
import numpy as np
import torch
from ase.build import molecule
from sikff.calculators import SIKFFCalculator

def forces(given):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        atoms = molecule("CH3OH")
        atoms.calc = given or SIKFFCalculator(sys.argv[1], device="cpu")
        found = atoms.get_forces()
        torch.ones(10**6).sin()  # a parallel operation of the program
    return found, torch.get_num_threads(), [str(each.message) for each in caught]

def work(k):
    first, second = forces(calculator if k % 2 else None), forces(calculator)
    return first, second

torch.set_num_threads(2)
calculator = SIKFFCalculator(sys.argv[1], device="cpu")
expected, threads, told = forces(calculator)
assert (threads, told) == (2, [])
with multiprocessing.get_context("fork").Pool(1) as pool:
    results = pool.map(work, range(2), chunksize=1)
    told = [message for pair in results for _, _, messages in pair for message in messages]
    assert len(told) == 1 and "spawn or forkserver" in told[0]
    for first, second in results:
        assert np.allclose(first[0], expected) and np.allclose(second[0], expected)
        assert (first[1], second[1]) == (1, 1)
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_calculator_computes_in_a_fork_of_a_process_with_threads() -> None:
    command = [sys.executable, "-c", PROGRAM, MODEL]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            assert process.communicate(timeout=60)[0] == b"done\n"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its pool too, if that hangs
