"""Rollout workers on a Ray cluster for one run: they make its episodes, this process learns.

Every worker builds task, environment and agent from the settings, as this process does, and gets
the trained weights with each request. What it answers depends on the request alone, so Ray can
start a worker that died anew and repeat what it was asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from rich.console import Console
from safetensors.torch import load, save

from agents.policy import Policy
from agents.processes.group import count
from agents.rollouts.collect import base_environment, collect_part, rollout_transforms
from agents.rollouts.crew import working
from agents.rollouts.sampling_plan import SamplingPlan
from agents.training.checkpoints.checkpoint import SavedAgent
from rlhf_env.rollout import Rollout
from studies.execution.ray_cluster import LOST, ClusterLostError, connect, ended_of, is_there
from studies.experiment.inputs import TaskInputs
from studies.training.assembly import assemble
from studies.training.settings import Settings

OPTION = "--ray-workers"
# How often a request is repeated whose worker died.
RETRIES = 2


class RolloutWorker:
    """A copy of a run's policy and environment in a process of the cluster."""

    def __init__(self, settings: Settings, inputs: TaskInputs | None) -> None:
        """Build task, environment and agent, and none of the run's files."""
        torch.set_num_threads(1)
        assembly = assemble(settings, inputs, None, Console(quiet=True))
        self.envs, self.policy = assembly.envs, assembly.agent.policy

    @torch.no_grad()
    def share(
        self, weights: bytes, part: SamplingPlan, kl_coef: float, temperature: float
    ) -> Rollout:
        """Return the finished episodes of a part of a plan, under the weights that came with it."""
        own = _trained(self.policy)
        for name, weight in load(weights).items():
            own[name].copy_(weight)
        return collect_part(self.envs, self.policy, part, kl_coef=kl_coef, temperature=temperature)


class RayCrew:
    """Rollout workers on a Ray cluster; see `agents.rollouts.crew.Crew`."""

    def __init__(self, ray: Any, policy: Policy, workers: Sequence[Any]) -> None:
        """Take actors of `RolloutWorker`."""
        self.ray = ray
        self.policy = policy
        self.workers = workers

    def __len__(self) -> int:
        """Return the number of workers."""
        return len(self.workers)

    def shares(
        self, parts: Sequence[SamplingPlan], *, kl_coef: float, temperature: float
    ) -> list[Rollout]:
        """Return the episodes of each part; see `agents.rollouts.crew.Crew.shares`.

        Raises:
            ConnectionError: if the cluster goes away, or workers die again and again.
        """
        trained = {n: p.detach().cpu().contiguous() for n, p in _trained(self.policy).items()}
        # Once into the cluster's memory, from where all workers read.
        weights = self.ray.put(save(trained))
        asked = [
            worker.share.remote(weights, part, kl_coef, temperature)
            for worker, part in zip(self.workers, parts, strict=False)
        ]
        waiting = list(asked)
        while waiting:
            ended = ended_of(self.ray, waiting)
            waiting = [reference for reference in waiting if reference not in ended]
        try:
            return self.ray.get(asked)
        except self.ray.exceptions.RayActorError as error:
            if not is_there(self.ray):
                raise ClusterLostError(LOST) from error
            raise ConnectionError(
                f"a rollout worker died {RETRIES + 1} times in the same update, got "
                f"{type(error).__name__}; give the cluster more memory, or use fewer workers; the "
                "same command goes on from the last checkpoint"
            ) from error


@contextmanager
def rollout_workers(
    settings: Settings, inputs: TaskInputs | None, agent: Any, envs: Any
) -> Iterator[None]:
    """Let workers make the episodes inside, if the settings ask for any.

    Raises:
        ValueError: if there is no cluster, or the agent's episodes cannot be made elsewhere.
    """
    if settings.ray_workers is None:
        yield
        return
    check_workable(agent, envs)
    ray = connect(OPTION)
    on_gpu = agent.policy.lm.device.type == "cuda"
    # Ray starts a worker that died again, and asks it again.
    kind = ray.remote(RolloutWorker).options(
        num_cpus=1,
        num_gpus=1 if on_gpu else 0,
        max_restarts=-1,
        max_task_retries=RETRIES,
        runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}},
    )
    workers = [kind.remote(settings, inputs) for _ in range(settings.ray_workers)]
    try:
        with working(RayCrew(ray, agent.policy, workers)):
            yield
    finally:
        for worker in workers:
            ray.kill(worker)


def check_workable(agent: Any, envs: Any) -> None:
    """Refuse an agent whose episodes only this process can make.

    Raises:
        ValueError: with the reason.
    """
    base = base_environment(envs)
    is_stepped = rollout_transforms(envs) is None or base.mdp.options.policy is not None
    if count() > 1:
        reason = f"{count()} processes of a launcher, which share the episodes themselves"
    elif not isinstance(agent, SavedAgent):
        reason = f"{type(agent).__name__}, which chooses its actions itself"
    elif is_stepped:
        reason = "an environment that must be stepped"
    else:
        return
    raise ValueError(
        f"{OPTION} decodes the responses of an agents.Agent on a cluster, got {reason}; leave "
        f"{OPTION} out"
    )


def _trained(policy: Policy) -> dict[str, torch.nn.Parameter]:
    return {n: p for n, p in policy.model.named_parameters() if p.requires_grad}
