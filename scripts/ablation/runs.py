"""One run of an ablation: build the environment, the wrappers and the agent; train; evaluate.

The only place in `scripts` that an ablation uses agents and environments from. They are imported
when a run starts, so that a command line is read without them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scripts.ablation.agent_names import (
    BUILT_IN,
    custom_class,
    import_object,
    is_custom,
    parameters,
)
from scripts.ablation.checks import check_horizon
from scripts.ablation.episodes import example_episodes
from scripts.ablation.grid import RunSettings

if TYPE_CHECKING:
    from gymnasium.vector import VectorEnv

    from rlhf_env import Task

MAX_ENVS = 64
EXACT_POINTS = 20
# Tables of logits learn with far larger steps than transformers do.
LEARNING_RATES = {"toy15": 0.05}


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a run found.

    Attributes:
        row: numbers of the evaluation after training.
        curve: numbers of every update, each with "update".
        samples: example episodes, as `scripts.reporting.samples` reads them.
    """

    row: dict[str, float]
    curve: list[dict[str, float]]
    samples: list[dict[str, Any]] = field(default_factory=list)


def execute(run: RunSettings) -> RunResult:
    """Train and evaluate one agent."""
    from agents import train
    from agents.collect import base_environment

    task = make_task(run.budget.task)
    for name in (run.density, run.granularity):
        check_horizon(name, run.budget.every_k, task.max_new_tokens)
    envs = make_envs(run, task)
    agent = make_agent(run, envs)
    truth = ExactCurve.of(task, base_environment(envs).kl_coef, run.budget.updates)
    before = example_episodes(agent, envs, "before")
    size = run.budget.episodes_per_update
    metrics = train(
        agent,
        envs,
        run.budget.updates * size,
        episodes_per_update=size,
        progress=False,
        callback=truth.record,
    )
    return RunResult(
        row=_numbers(evaluate(agent, envs, run.budget.eval_episodes)) | truth.measure(agent),
        curve=[_numbers(point) | truth.points.get(int(point["update"]), {}) for point in metrics],
        samples=[*before, *example_episodes(agent, envs, "after")],
    )


def _numbers(metrics: dict[str, Any]) -> dict[str, float]:
    # Somebody's agent may report numbers of NumPy or torch, which no record can hold.
    return {name: float(value) for name, value in metrics.items()}


def evaluate(agent: Any, envs: VectorEnv[Any, Any, Any], episodes: int) -> dict[str, float]:
    """Return what an agent is worth on the task's evaluation prompts; anybody's agent can act."""
    from agents import Agent, collect
    from agents.collect import base_environment
    from agents.metrics import rollout_metrics

    if isinstance(agent, Agent):
        return agent.evaluate(episodes)
    task = base_environment(envs).task
    return rollout_metrics(collect(envs, agent, episodes, prompts=task.eval_prompts, seed=0), task)


def make_task(name: str) -> Task:
    """Return a built-in task, or what ``module:function`` returns."""
    from rlhf_env import Task, load_task

    if not is_custom(name):
        return load_task(name)
    made = import_object(name, "task")()
    if not isinstance(made, Task):
        raise ValueError(f"task must return a rlhf_env.Task, got a {type(made).__name__}")
    return made


def make_envs(run: RunSettings, task: Task) -> VectorEnv[Any, Any, Any]:
    """Return the vector environment with the density inside and the granularity outside."""
    import gymnasium as gym

    import rlhf_env  # noqa: F401  (registers RLHF-v0)
    from wrappers import vector

    rows = min(run.budget.episodes_per_update, MAX_ENVS)
    envs = gym.make_vec("RLHF-v0", num_envs=rows, task=task, kl_coef=run.kl_coef)
    if run.every_k is not None:
        envs = vector.EveryK(envs, k=run.every_k)
    elif run.density == "potential":
        # The tokens of a bandit's only decision are not discounted among themselves.
        gamma = 1.0 if run.granularity == "bandit" else run.gamma
        envs = vector.PotentialShaping(envs, gamma=gamma)
    if run.macro_tokens is not None:
        envs = vector.MacroAction(envs, n=run.macro_tokens)
    elif run.granularity == "bandit":
        envs = vector.SequenceBandit(envs)
    return envs


def make_agent(run: RunSettings, envs: VectorEnv[Any, Any, Any]) -> Any:
    """Return the agent with the settings it has."""
    import agents

    rate = run.budget.learning_rate
    if rate is None:
        rate = LEARNING_RATES.get(run.budget.task)
    offered = {
        "gamma": run.gamma,
        "gae_lambda": run.gae_lambda,
        "group_size": run.group_size,
        "kl_coef": run.kl_coef,
        "episodes_per_update": run.budget.episodes_per_update,
        "learning_rate": rate,
        "seed": run.seed,
    }
    given = {name: value for name, value in offered.items() if value is not None}
    if is_custom(run.agent):
        custom = custom_class(run.agent)
        return custom(envs, **{k: v for k, v in given.items() if k in parameters(custom)})
    made: Callable[..., Any] = getattr(agents, BUILT_IN[run.agent].class_name)
    return made(envs, **given)


@dataclass(frozen=True, kw_only=True)
class ExactCurve:
    """How near the exact optimum an agent comes, on tasks that can be enumerated.

    The objective is the same for every run: the score minus beta times the KL, undiscounted.

    Attributes:
        task: the task; None where it cannot be enumerated.
        kl_coef: beta.
        optimum: J*, of the optimal policy.
        every: updates between two measurements.
        points: update -> what was measured.
    """

    task: Task | None
    kl_coef: float
    optimum: float
    every: int
    points: dict[int, dict[str, float]] = field(default_factory=dict)

    @classmethod
    def of(cls, task: Task, kl_coef: float, updates: int) -> ExactCurve:
        """Solve the task, if it is small enough."""
        from rlhf_env.exact import solve

        every = max(1, updates // EXACT_POINTS)
        if not is_enumerable(task):
            return cls(task=None, kl_coef=kl_coef, optimum=0.0, every=every)
        optimum = solve(task, kl_coef).objective
        return cls(task=task, kl_coef=kl_coef, optimum=optimum, every=every)

    def record(self, agent: Any, metrics: dict[str, float]) -> None:
        """Measure the agent if it is time to; called after every update."""
        update = int(metrics["update"])
        if update == 1 or update % self.every == 0:
            self.points[update] = self.measure(agent)

    def measure(self, agent: Any) -> dict[str, float]:
        """Return J, J/J* and J* − J of an agent; nothing where they are not known."""
        from rlhf_env.enumerated import TokenProbabilities
        from rlhf_env.exact import evaluate

        if self.task is None or not isinstance(agent, TokenProbabilities):
            return {}
        objective = evaluate(self.task, agent, self.kl_coef).objective
        return {
            "objective": objective,
            "j_ratio": objective / self.optimum,
            "regret": self.optimum - objective,
        }


def is_enumerable(task: Task) -> bool:
    """Return True where the exact optimum can be computed."""
    from rlhf_env.response_tree import check_enumerable

    try:
        check_enumerable(task.vocab_size, task.max_new_tokens)
    except ValueError:
        return False
    return len(task.prompts) == 1


def exact_frontier(name: str) -> list[dict[str, float]]:
    """Return the highest score at each KL, as the optimal policies trace it, by growing KL.

    Args:
        name: of the task; the list is empty where it cannot be enumerated.
    """
    from rlhf_env.exact import solve

    task = make_task(name)
    if not is_enumerable(task):
        return []
    solutions = [solve(task, 2.0 ** (6 - 0.1 * step)) for step in range(110)]
    return [{"kl": solution.kl, "score": solution.reward} for solution in solutions]
