"""How many processes a run has: as many as torchrun or SLURM's srun started, or else as many as it is told to start."""

from __future__ import annotations

import os
from dataclasses import replace

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from regcore.training.config import Config


def launched(config: Config) -> Config:
    """Return the configuration with ``run.processes`` and ``run.nodes`` as a launcher set them.

    Lightning takes part in a launcher's group only if it is told the group's size; without it, each of the processes
    would be a run of its own in the same folder.

    Raises:
        ValueError: the configuration says that there are others, or nodes have unequal numbers of processes.
    """
    found = _torchrun() or _slurm()
    if found is None:
        return config
    launcher, processes, nodes = found
    said = config.run.processes, config.run.nodes
    if said not in ((1, 1), (processes, nodes)):
        raise ValueError(
            f"run.processes: {launcher} started {processes} on each of {nodes} nodes, the configuration says {said[0]} "
            f"on each of {said[1]}; leave run.processes and run.nodes out, or start as many"
        )
    return replace(config, run=replace(config.run, processes=processes, nodes=nodes))


def _torchrun() -> tuple[str, int, int] | None:
    if not TorchElasticEnvironment.detect():
        return None
    return ("torchrun", *_shared(int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])))


def _slurm() -> tuple[str, int, int] | None:
    """Read the variables that srun sets for its tasks; Lightning takes an interactive shell for none of them."""
    if "SLURM_NTASKS" not in os.environ or not SLURMEnvironment.detect():
        return None
    tasks = int(os.environ["SLURM_NTASKS"])
    per_node = os.environ.get("SLURM_NTASKS_PER_NODE")
    if tasks > 1 and per_node is None:
        raise ValueError(f"run.processes: SLURM runs {tasks} tasks; ask for them with --ntasks-per-node and --nodes")
    return ("SLURM", *_shared(tasks, int(per_node or 1)))


def _shared(world: int, per_node: int) -> tuple[int, int]:
    if world % per_node:
        raise ValueError(f"run.processes: expected as many on every node, got {per_node} here of {world} in all")
    return per_node, world // per_node
