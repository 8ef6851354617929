"""Training in processes that queues and launchers start: one run, or one that is let in."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from runs import changed, rows, weights
from sikff.training.config import TrainConfig
from sikff.training.fitting import launch as module
from sikff.training.fitting.fit import fit
from sikff.training.fitting.launch import Launch, find_launch, read_launch
from tolerances import TOLERANCES

SIKFF = [sys.executable, "-m", "sikff.training"]
# What programs set in the first of four processes; {k} is the rank of others.
SRUN = {
    **{"SLURM_JOB_ID": "17", "SLURM_JOB_NAME": "fit", "SLURM_NTASKS": "4", "SLURM_NPROCS": "4"},
    **{"SLURM_PROCID": "{k}", "SLURM_LOCALID": "{k}", "SLURM_NODEID": "0", "SLURM_NNODES": "1"},
    **{"SLURM_STEP_ID": "0", "SLURM_STEPID": "0", "SLURM_STEP_NUM_TASKS": "4"},
    **{"SLURM_STEP_NODELIST": "localhost", "SLURM_LAUNCH_NODE_IPADDR": "192.0.2.1"},
}
SBATCH = {
    **{"SLURM_JOB_ID": "17", "SLURM_JOB_NAME": "fit", "SLURM_NTASKS": "4", "SLURM_NPROCS": "4"},
    **{"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_NNODES": "2"},
    **{"SLURM_NODELIST": "a,b", "SLURM_TASKS_PER_NODE": "2(x2)", "SLURM_GPUS_ON_NODE": "4"},
}
TORCHRUN = {
    **{"RANK": "{k}", "LOCAL_RANK": "{k}", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4"},
    **{"GROUP_RANK": "0", "GROUP_WORLD_SIZE": "1", "ROLE_RANK": "{k}", "NODE_RANK": "0"},
    **{"MASTER_ADDR": "192.0.2.1", "MASTER_PORT": "1", "TORCHELASTIC_RUN_ID": "none"},
    **{"TORCHELASTIC_RESTART_COUNT": "0", "TORCHELASTIC_USE_AGENT_STORE": "True"},
}
MPIRUN = {
    **{"OMPI_COMM_WORLD_RANK": "{k}", "OMPI_COMM_WORLD_SIZE": "4"},
    **{"OMPI_COMM_WORLD_LOCAL_RANK": "{k}", "OMPI_COMM_WORLD_LOCAL_SIZE": "4"},
    **{"PMIX_NAMESPACE": "prterun-1", "PMIX_RANK": "{k}"},
}
HYDRA = {"PMI_RANK": "{k}", "PMI_SIZE": "4", "PMI_FD": "7", "MPI_LOCALRANKID": "{k}"}
LSF = {
    **{
        "LSB_JOBID": "17",
        "LSB_JOBNAME": "fit",
        "LSB_MCPU_HOSTS": "a 2 b 2",
        "LSB_HOSTS": "a a b b",
    },
    **{"LSB_DJOB_NUMPROC": "4", "LSB_DJOB_HOSTFILE": "none", "LSB_DJOB_RANKFILE": "none"},
    **{"LSB_MAX_NUM_PROCESSORS": "4", "JSM_NAMESPACE_SIZE": "4", "JSM_NAMESPACE_RANK": "0"},
}
SGE = {"JOB_ID": "17", "NSLOTS": "4", "PE_HOSTFILE": "none", "NHOSTS": "2", "SGE_TASK_ID": "1"}
PBS = {
    **{"PBS_JOBID": "17.server", "PBS_NODEFILE": "none", "PBS_NP": "4", "PBS_TASKNUM": "1"},
    **{"PBS_NODENUM": "0", "PBS_ENVIRONMENT": "PBS_BATCH", "NCPUS": "4"},
}
KUBERNETES = {"RANK": "{k}", "WORLD_SIZE": "4", "MASTER_ADDR": "head", "KUBERNETES_PORT": "1"}
ALL = {
    **{"srun": SRUN, "sbatch": SBATCH, "torchrun": TORCHRUN, "mpirun": MPIRUN, "hydra": HYDRA},
    **{"LSF": LSF, "SGE": SGE, "PBS": PBS, "Kubernetes": KUBERNETES},
}
STARTING = ("srun", "torchrun", "mpirun", "hydra", "Kubernetes")  # several processes, not one


def variables(name: str, rank: int, size: int = 4) -> dict[str, str]:
    """Those of a process, of so many."""
    values = {key: value.replace("{k}", str(rank)) for key, value in ALL[name].items()}
    return {k: str(size) if v == "4" and name in STARTING else v for k, v in values.items()}


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in {name for each in ALL.values() for name in each}:
        monkeypatch.delenv(name, raising=False)


def command(config: TrainConfig, *arguments: str) -> list[str]:
    path = config.output.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    return ["train", str(path), *arguments]


def start(name: str, size: int, arguments: list[str]) -> list[tuple[int, str, str]]:
    """Exit code, stdout and stderr of every process that a launcher starts."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [
        subprocess.Popen(
            [*SIKFF, *arguments], env=os.environ | variables(name, rank, size), **pipes
        )
        for rank in range(size)
    ]
    results = [process.communicate(timeout=300) for process in processes]
    return [(each.returncode, *result) for each, result in zip(processes, results, strict=True)]


def assert_same_training(first: TrainConfig, second: TrainConfig) -> None:
    limit = TOLERANCES[torch.float64].gradient
    one, two = (weights(each.output / "model.sikff") for each in (first, second))
    for key, value in one.items():
        assert (two[key] - value).abs().max() <= limit * (1 + value.abs().max()), key
    assert len(rows(first)) == len(rows(second))


@pytest.mark.parametrize("name", ALL)
def test_one_device_looks_at_no_queue(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for key, value in variables(name, 3).items():
        monkeypatch.setenv(key, value)
    assert find_launch(1) is None
    short = changed(config, max_epochs=1)
    assert fit(short).is_file()
    assert rows(short)[0]["epoch"] == 0


@pytest.mark.parametrize("name", ALL)
def test_several_devices_look_at_who_started_them(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A script of a queue is alone and starts the others, whatever the queue has reserved."""
    for key, value in variables(name, 3).items():
        monkeypatch.setenv(key, value)
    if name not in STARTING:
        assert find_launch(4) is None
        return
    launch = find_launch(4)
    assert isinstance(launch, Launch)
    assert (launch.rank, launch.size, launch.local_rank) == (3, 4, 3)
    with pytest.raises(
        ValueError, match=rf"devices is 2, .* 4 processes \({launch.told_by}\); set"
    ):
        find_launch(2)
    monkeypatch.setenv(launch.told_by, "1")
    if name == "srun":
        monkeypatch.setenv("SLURM_NTASKS", "1")
    assert read_launch() is None  # one process is alone
    monkeypatch.setenv(launch.told_by, "two")
    assert read_launch() is None


def test_the_launcher_of_processes_is_the_inner_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """mpirun starts its daemons by srun: two of them, for four processes."""
    for key, value in {**variables("srun", 1, 2), **variables("mpirun", 3)}.items():
        monkeypatch.setenv(key, value)
    assert find_launch(4).rank == 3


@pytest.mark.slow
def test_tasks_of_srun_share_a_run_and_the_first_one_speaks(config: TrainConfig) -> None:
    config = changed(config, threads=1)
    fit(config)
    both = changed(config, devices=2, output=config.output.with_name("srun"))
    both.output.mkdir()
    (both.output / ".meeting-01234567").write_text('["localhost", 1]')  # of a killed run
    (first, second) = start("srun", 2, command(both))
    assert first[0] == 0, first
    assert "wrote " in first[1]
    assert second == (0, "", "")
    assert_same_training(config, both)
    assert not list(both.output.glob(".*"))


@pytest.mark.slow
def test_torchrun_starts_a_run(config: TrainConfig) -> None:
    config = changed(config, threads=1)
    fit(config)
    both = changed(config, devices=2, output=config.output.with_name("torchrun"))
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    train = ["-m", "sikff.training", *command(both, "--quiet")]
    run = subprocess.run([sys.executable, *torchrun, *train], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert_same_training(config, both)


@pytest.mark.slow
def test_an_error_before_the_training_ends_all_processes(config: TrainConfig) -> None:
    data = {"train": config.data.train.with_name("missing.xyz"), "valid": 3}
    first, second = start("srun", 2, command(changed(config, devices=2, data=data)))
    assert (first[0], second[0]) == (2, 2)
    assert "missing.xyz" in first[2]
    assert second[2].startswith("sikff: another process of the run has ended; its message tells")


@pytest.mark.slow
def test_a_killed_process_ends_all_and_the_run_resumes(config: TrainConfig) -> None:
    endless = changed(config, devices=2, max_epochs=10**6, threads=1)
    options = {"stderr": subprocess.PIPE, "text": True}
    train = [*SIKFF, *command(endless, "--quiet")]
    first, second = (
        subprocess.Popen(train, env=os.environ | variables("mpirun", rank, 2), **options)
        for rank in range(2)
    )
    while not (config.output / "last.ckpt").exists():
        assert first.poll() is None and second.poll() is None
        time.sleep(0.05)
    second.kill()
    second.communicate()
    error = first.communicate(timeout=120)[1]
    assert first.returncode == 2
    assert error.startswith("sikff: another process of the run has ended")
    done = changed(endless, max_epochs=len(rows(endless)) + 1)
    results = start("mpirun", 2, command(done, "--resume", "--quiet"))
    assert [each[0] for each in results] == [0, 0], results


@pytest.mark.slow
def test_several_processes_with_one_device_are_told_what_to_do(config: TrainConfig) -> None:
    """One is let in, and is not disturbed."""
    config = changed(config, max_epochs=300, threads=1)
    results = start("srun", 3, command(config, "--quiet"))
    assert sorted(each[0] for each in results) == [0, 2, 2], results
    message = (
        "this is one of 3 processes (SLURM_STEP_NUM_TASKS): start one alone, or set devices: 3"
    )
    assert all(message in error for code, _, error in results if code)
    assert len(rows(config)) == 300


def test_a_second_launch_in_the_folder_is_refused(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its first process; none of the others joins the run that is there."""
    for seconds in ("PATIENCE", "LATEST"):
        monkeypatch.setattr(module, seconds, 0.5)
    folder: Path = config.output
    here, other, twin = (
        Launch(rank, 2, rank, "WORLD_SIZE", start) for rank, start in ((0, "a"), (1, "b"), (1, "a"))
    )
    folder.mkdir()
    with module.lead(folder, here) as leader:
        leader.share(("model",))
        refused = pytest.raises(ConnectionError, match="found no first process")
        with refused, module.follow(folder, other):
            pass
        leader.store.add("rank 1", 1)
        with pytest.raises(ValueError, match="processes with rank 1"), module.follow(folder, twin):
            pass
    assert not list(folder.iterdir())
