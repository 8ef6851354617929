"""Several processes that share a training run: how they start, agree and end."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from ..console import SIGNALS

T = TypeVar("T")

LOOPBACK = "127.0.0.1"
LOST = "another process of the run has ended; its message tells why, if it had time for one"


@dataclass(frozen=True)
class Processes:
    """The processes that share a run, as one of them sees them; by default it is alone.

    All of them call the same methods in the same order.

    Attributes:
        rank: number of this process.
        size: number of processes.
        gpu: index of the GPU of this process, if they take any.
    """

    rank: int = 0
    size: int = 1
    gpu: int = 0

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replaces tensors by their means over the processes, all in one message.

        Raises:
            ConnectionError: if a process has ended.
        """
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with _noticing_lost_processes():
            dist.all_reduce(flat)
        means = (flat / self.size).split([tensor.numel() for tensor in tensors])
        for tensor, mean in zip(tensors, means, strict=True):
            tensor.copy_(mean.view_as(tensor))

    def gather(self, value: T) -> list[T]:
        """The values of all processes, by rank.

        Raises:
            ConnectionError: if a process has ended.
        """
        values = [value] * self.size
        if self.size > 1:
            with _noticing_lost_processes():
                dist.all_gather_object(values, value)
        return values


@contextmanager
def _noticing_lost_processes() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # of gloo and NCCL
        raise ConnectionError(LOST) from error


ALONE = Processes()


@contextmanager
def joined(processes: Processes, store: dist.Store, cuda: bool) -> Iterator[None]:
    """Connects this process with the others inside.

    Args:
        store: that all of them reach.
        cuda: whether they communicate on GPUs.
    """
    if cuda:
        torch.cuda.set_device(processes.gpu)
    rank, size = processes.rank, processes.size
    dist.init_process_group("nccl" if cuda else "gloo", store=store, rank=rank, world_size=size)
    try:
        yield
    finally:
        dist.destroy_process_group()


def run_processes(
    function: Callable[..., None], size: int, cuda: bool, arguments: Sequence[object]
) -> None:
    """Calls ``function(processes, *arguments)`` in new processes, until all are done or one fails.

    No process outlives this call, nor the calling process if that is killed.

    Args:
        function: is imported by its name.
        size: number of processes; on CUDA each has the GPU of its rank.
        cuda: whether they communicate on GPUs.
        arguments: their tensors are in memory that all processes share.

    Raises:
        Exception: the first error in any process, with its traceback there as a note.
        RuntimeError: if a process was killed.
    """
    context = multiprocessing.get_context("spawn")
    store = dist.TCPStore(LOOPBACK, 0, is_master=True, wait_for_workers=False)
    resource_tracker.ensure_running()  # multiprocessing would do it first, and change the mask
    children: dict[Connection, BaseProcess] = {}
    try:
        for rank in range(size):
            results, sender = context.Pipe(duplex=False)
            given = (sender, function, Processes(rank, size, gpu=rank), cuda, store.port, arguments)
            children[results] = context.Process(target=_run, args=given)
            with _block_interrupts():
                children[results].start()
            sender.close()  # so that reading the results of a dead process fails
        running = set(children)
        while running:
            ready = running.intersection(wait(running))
            # The dead first: their end is why others fail.
            for results in sorted(ready, key=lambda results: children[results].is_alive()):
                running.remove(results)
                _check_result(results, children[results])
    finally:
        for child in children.values():
            if child.pid is not None:
                child.kill()
                child.join()


@contextmanager
def _block_interrupts() -> Iterator[None]:
    """Blocks, in processes that are started inside, what asks a command to end.

    Ctrl-C and the signals of queues reach all processes; the calling one ends the others.
    """
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {getattr(signal, each) for each in SIGNALS})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _check_result(results: Connection, child: BaseProcess) -> None:
    """Raises the error of a process; returns if it had none."""
    try:
        error = results.recv()
    except EOFError:
        child.join()
        raise RuntimeError(
            f"a process of the run was killed (exit code {child.exitcode}), perhaps for lack of "
            "memory: lower devices or batch_size, then resume the run"
        ) from None
    if error is not None:
        raise error
    child.join()


def _run(
    results: Connection,
    function: Callable[..., None],
    processes: Processes,
    cuda: bool,
    port: int,
    arguments: Sequence[object],
) -> None:
    """Calls the function in a new process and sends its error or None."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        with joined(processes, dist.TCPStore(LOOPBACK, port), cuda):
            _call(results, function, processes, arguments)
    except BaseException as caught:
        _send_error(results, caught)


def _call(
    results: Connection,
    function: Callable[..., None],
    processes: Processes,
    arguments: Sequence[object],
) -> None:
    """Calls the function and sends its error, while connected with the others, or None."""
    try:
        function(processes, *arguments)
    except BaseException as caught:
        _send_error(results, caught)
    results.send(None)


def _send_error(results: Connection, caught: BaseException) -> NoReturn:
    error = caught if _is_portable(caught) else RuntimeError(f"{type(caught)}: {caught}")
    error.add_note(traceback.format_exc())
    results.send(error)
    # If this process ended now, others might fail for that, and their errors would come first.
    while True:
        threading.Event().wait()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # also out of a wait for another process


def _is_portable(error: BaseException) -> bool:
    """Whether an error can be sent to another process."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return False
    return True
