"""Processes that srun, torchrun or mpirun has started: how they find each other and end."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import pickle
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist

from sikff.atomic_write import complete

from .processes import LOOPBACK, LOST

# Variables of the rank, and those of the number of processes, of which the first counts that is
# set. mpirun may start its processes through srun, torchrun through both: the outermost is last.
VARIABLES = (
    ("RANK", "WORLD_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"),
)
STEP = "SLURM_STEP_ID"  # of srun; a script of sbatch has the other variables too, and is alone
LOCAL_RANKS = ("LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID")
# Equal in all processes of one start; some of them differ from those of any other.
STARTS = (
    *("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "MASTER_ADDR", "MASTER_PORT"),
    *("PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid"),
    *("SLURM_JOB_ID", STEP, "SLURM_RESTART_COUNT", "LSB_JOBID", "PBS_JOBID", "JOB_ID"),
)
MEETING = ".meeting-"  # begins the name of the file that tells where the first process listens
PATIENCE = (
    300.0  # s until processes that do not find the first one give up; queues start them apart
)
LATEST = 60.0  # s that the first process, after its end, waits for others to notice
POLL = 0.1  # s


@dataclass(frozen=True)
class Launch:
    """What the variables of a launcher say of this process.

    Attributes:
        rank: number of this process.
        size: number of processes.
        local_rank: number of this process on its host.
        told_by: the variable that tells the size.
        start: differs from that of processes that were started otherwise.
    """

    rank: int
    size: int
    local_rank: int
    told_by: str
    start: str


def read_launch() -> Launch | None:
    """What a launcher of several processes says of this one; None: it is alone."""
    known = {name: int(text) for name, text in os.environ.items() if text.isdecimal()}
    start = " ".join(os.environ.get(name, "") for name in STARTS)
    for rank, *sizes in VARIABLES:
        size = next((name for name in sizes if name in known), None)
        if rank not in known or size is None or known[size] < 2:
            continue
        if rank.startswith("SLURM") and STEP not in known:
            continue
        local_rank = next((known[name] for name in LOCAL_RANKS if name in known), known[rank])
        return Launch(known[rank], known[size], local_rank, size, start)
    return None


def find_launch(devices: int) -> Launch | None:
    """The launch whose processes share a run on several devices; None: nobody else has started any.

    Raises:
        ValueError: if there are more or fewer processes than devices.
    """
    launch = None if devices == 1 else read_launch()
    if launch is not None and launch.size != devices:
        raise ValueError(
            f"devices is {devices}, but this is one of {launch.size} processes ({launch.told_by}); "
            f"set devices: {launch.size}, or start {devices} processes, or one alone"
        )
    return launch


class Leader:
    """The first process of a launch, for which the others wait.

    Attributes:
        store: that all of them reach.
    """

    def __init__(self, launch: Launch, store: dist.Store) -> None:
        self.launch, self.store = launch, store

    def share(self, arguments: Sequence[object]) -> None:
        """Gives the others the arguments that :func:`follow` yields."""
        content = base64.b64encode(pickle.dumps(arguments))
        self.store.set("arguments", content.decode())


@contextmanager
def lead(folder: Path, launch: Launch) -> Iterator[Leader]:
    """Makes this process the first one; at the end, or after an error, the others end as well.

    Args:
        folder: that the processes share, of their run.
    """
    store = dist.TCPStore(LOOPBACK, 0, is_master=True, wait_for_workers=False)
    store.set("start", launch.start)
    file = _meeting_file(folder, launch)
    try:
        with complete(file) as temporary:
            temporary.write_text(json.dumps([socket.gethostname(), store.port]))
        yield Leader(launch, store)
        store.set("end", "")
        _wait_for_all(store, "left", launch)
    except BaseException as error:
        store.set("failed", "")
        if isinstance(error, Exception):  # no interrupt: the others have to be told
            _wait_for_all(store, "arrived", launch)
        raise
    finally:
        file.unlink(missing_ok=True)


@contextmanager
def follow(folder: Path, launch: Launch) -> Iterator[tuple[dist.Store, Any]]:
    """Yields the store of the first process and the arguments that it shares.

    Raises:
        ConnectionError: if it is not found, or ends before it leaves this context.
        ValueError: if another process has the same rank.
    """
    store = _find_store(folder, launch)
    if store.add(f"rank {launch.rank}", 1) > 1:
        raise ValueError(
            f"two processes with rank {launch.rank} were started for {str(folder)!r}; start one "
            "run at a time, or give each its output"
        )
    store.add("arrived", 1)
    yield store, pickle.loads(base64.b64decode(_wait_for(store, "arguments")))
    _wait_for(store, "end")
    store.add("left", 1)


def _wait_for_all(store: dist.Store, counter: str, launch: Launch) -> None:
    """Waits until all others have counted themselves, or have had their time."""
    end = time.monotonic() + LATEST
    while store.add(counter, 0) < launch.size - 1 and time.monotonic() < end:
        time.sleep(POLL)


def clear_meetings(folder: Path, launch: Launch | None) -> None:
    """Removes files of other launches, which were killed."""
    for file in folder.glob(f"{MEETING}*"):
        if launch is None or file != _meeting_file(folder, launch):
            file.unlink(missing_ok=True)


def _meeting_file(folder: Path, launch: Launch) -> Path:
    return folder / f"{MEETING}{hashlib.sha256(launch.start.encode()).hexdigest()[:8]}"


def _find_store(folder: Path, launch: Launch) -> dist.Store:
    """Connects to the first process; files of killed ones may tell of hosts that do not answer."""
    file = _meeting_file(folder, launch)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with suppress(OSError, ValueError, RuntimeError):
            host, port = json.loads(file.read_text(encoding="utf-8"))
            host = LOOPBACK if host == socket.gethostname() else host
            socket.create_connection((host, port), timeout=5).close()
            store = dist.TCPStore(host, port, is_master=False, timeout=timedelta(seconds=30))
            if store.check(["start"]) and store.get("start").decode() == launch.start:
                return store
        time.sleep(POLL)
    raise ConnectionError(
        f"process {launch.rank} of {launch.size} found no first process in {PATIENCE:.0f} s; all "
        f"must see {str(folder)!r}, on a file system that their hosts share ({launch.told_by} "
        "tells how many there are)"
    )


def _wait_for(store: dist.Store, key: str) -> bytes:
    """The value of a key that the first process sets."""
    try:
        while not store.check([key]):
            if store.check(["failed"]):
                raise ConnectionError(LOST)
            time.sleep(POLL)
        return store.get(key)
    except RuntimeError as error:  # of torch: the connection is closed
        raise ConnectionError(LOST) from error
