"""Several processes that share a training run: how they start, agree and end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Processes:
    """The processes that share a run, as one of them sees them; by default it is alone.

    All of them call the same methods in the same order.

    Attributes:
        rank: number of this process.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replaces tensors by their means over the processes, all in one message."""
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        means = (flat / self.size).split([tensor.numel() for tensor in tensors])
        for tensor, mean in zip(tensors, means, strict=True):
            tensor.copy_(mean.view_as(tensor))

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over the processes; it may be in the memory of the tensor."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def gather(self, value: T) -> list[T]:
        """The values of all processes, by rank."""
        values = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(values, value)
        return values


ALONE = Processes()


def run_processes(
    function: Callable[..., None], size: int, cuda: bool, arguments: Sequence[object]
) -> None:
    """Calls ``function(processes, *arguments)`` in new processes, until all are done or one fails.

    No process outlives the call, or this process if it is killed.

    Args:
        function: is imported by its name.
        size: number of processes; on CUDA each has the GPU of its rank.
        cuda: whether they communicate on GPUs.
        arguments: their tensors are in memory that all processes share.

    Raises:
        Exception: the first error in any process.
        BrokenProcessPool: if a process was killed.
    """
    context = multiprocessing.get_context("spawn")
    store = dist.TCPStore(HOST, 0, is_master=True, wait_for_workers=False)
    observed, held = context.Pipe(duplex=False)
    # Left in reverse order: processes that still wait for one that failed end before the pool.
    with ProcessPoolExecutor(size, context, _start, (observed,)) as pool, held:
        group = store.port, "nccl" if cuda else "gloo"
        ranks = [Processes(rank, size) for rank in range(size)]
        tasks = [pool.submit(_join, function, rank, *group, arguments) for rank in ranks]
        for task in as_completed(tasks):
            task.result()


def _start(observed: Connection) -> None:
    """Prepares a new process: it ends when the other end of a pipe is closed, not by Ctrl-C."""

    def end_with_parent() -> None:
        try:
            observed.recv()
        except EOFError:
            os._exit(1)  # also out of a wait for another process

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()


def _join(
    function: Callable[..., None],
    processes: Processes,
    port: int,
    backend: str,
    arguments: Sequence[object],
) -> None:
    """Joins the group of processes and calls the function in it."""
    if backend == "nccl":
        torch.cuda.set_device(processes.rank)
    store = dist.TCPStore(HOST, port)
    rank, size = processes.rank, processes.size
    dist.init_process_group(backend, store=store, rank=rank, world_size=size)
    # After an error the process stays in the group, lest others fail and hide the error.
    function(processes, *arguments)
    dist.destroy_process_group()
