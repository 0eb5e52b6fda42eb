"""How many processes a run has when torchrun or SLURM started them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.utilities import rank_zero_only

from regcore.training.checkpoints import Keeper
from regcore.training.config import Config, RunConfig
from regcore.training.launch import launched
from regcore.training.run import _trainer

_SET_BY_LIGHTNING = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Function that sets the variables of a launcher; there is none at first."""
    for name in ("TORCHELASTIC_RUN_ID", "SLURM_NTASKS", "SLURM_NTASKS_PER_NODE", "SLURM_JOB_NAME", *_SET_BY_LIGHTNING):
        # Set first: what Lightning sets itself, and later runs would take for theirs, is then taken away again.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return lambda **values: [monkeypatch.setenv(name, str(value)) for name, value in values.items()]


TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": 8, "LOCAL_WORLD_SIZE": 4}
SRUN = {"SLURM_NTASKS": 8, "SLURM_NTASKS_PER_NODE": 4, "SLURM_JOB_NAME": "train", "SLURM_NNODES": 2}


def processes(config: Config) -> tuple[int, int]:
    found = launched(config).run
    return found.processes, found.nodes


def of(count: int, nodes: int = 1) -> Config:
    return Config(run=RunConfig(processes=count, nodes=nodes))


def test_without_a_launcher_the_configuration_counts():
    assert processes(of(3)) == (3, 1)


@pytest.mark.parametrize("variables", [TORCHRUN, SRUN], ids=["torchrun", "srun"])
def test_a_launcher_says_how_many_there_are(environment, variables):
    environment(**variables)
    assert processes(Config()) == processes(of(4, 2)) == (4, 2)
    for other in (of(4), of(2, 2), of(8)):
        with pytest.raises(ValueError, match=r"started 4 on each of 2 nodes, the configuration says \d on each of \d"):
            launched(other)
    assert launched(replace(Config(), seed=5)).seed == 5


def test_torchrun_comes_before_the_job_it_runs_in(environment):
    environment(**SRUN | {"SLURM_NTASKS": 2, "SLURM_NTASKS_PER_NODE": 1}, **TORCHRUN)
    assert processes(Config()) == (4, 2)


def test_one_task_is_one_process_and_an_interactive_job_is_none(environment):
    environment(SLURM_NTASKS=1, SLURM_JOB_NAME="train")
    assert processes(Config()) == (1, 1)
    with pytest.raises(ValueError, match="SLURM started 1"):
        launched(of(4))
    environment(SLURM_NTASKS=8, SLURM_JOB_NAME="bash")
    assert processes(of(4)) == (4, 1)


def test_tasks_that_are_not_shared_out_evenly_are_refused(environment):
    environment(SLURM_NTASKS=8, SLURM_JOB_NAME="train")
    with pytest.raises(ValueError, match="8 tasks; ask for them with --ntasks-per-node"):
        launched(Config())
    environment(SLURM_NTASKS_PER_NODE=3)
    with pytest.raises(ValueError, match="got 3 here of 8 in all"):
        launched(Config())


def test_lightning_takes_its_place_in_the_job(environment, tmp_path, monkeypatch):
    # Lightning keeps the rank for the whole process.
    monkeypatch.setattr(rank_zero_only, "rank", getattr(rank_zero_only, "rank", 0), raising=False)
    environment(**SRUN, SLURM_PROCID=6, SLURM_LOCALID=2, SLURM_NODEID=1, SLURM_JOB_ID=1234, SLURM_NODELIST="n[3-4]")
    config = Config(run=RunConfig(device="cpu", pictures=False))
    trainer = _trainer(launched(config), tmp_path, [], Keeper(tmp_path, 1, 1), True)
    assert isinstance(trainer.strategy.cluster_environment, SLURMEnvironment)
    assert (trainer.world_size, trainer.global_rank, trainer.local_rank, trainer.node_rank) == (8, 6, 2, 1)
    assert trainer.strategy.cluster_environment.main_address == "n3"
