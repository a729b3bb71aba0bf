"""The settings of `scripts/train.py`. Nothing is checked or read here."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from studies.experiment.agent_names import agent_fields
from studies.experiment.further_settings import further_settings
from studies.experiment.grid import Budget, RunSettings
from studies.experiment.option_names import as_typed
from studies.experiment.task.spec import Problem

DEFAULT_TASK = "reviews"
# Settings of agents that a grid does not vary; None takes the agent's own.
AGENT_OPTIONS = (
    "epochs",
    "minibatches",
    "clip_range",
    "temperature",
    "lora_rank",
    "lora_alpha",
    "precision",
    "loss",
    "beta",
    "label_rule",
)


_PATHS = ("preferences", "held_out", "from_file")


@dataclass(frozen=True, kw_only=True)
class Learning:
    """Who learns, how, and for how long."""

    agent: str = "ppo"
    """The agent: ppo, grpo, ..., or module:Class of your own."""
    preferences: Path | None = None
    """JSONL or Parquet file of comparisons, rankings, ratings or thumbs to learn from, for agents
    that learn from comparisons (none given: they compare their own responses)."""
    held_out: Path | None = None
    """Comparisons of other prompts to evaluate on (none given: a tenth of --preferences)."""
    label_rule: str | None = None
    """How such an agent compares its own responses by their score: soft, sampled, hard."""
    loss: str | None = None
    """Loss of such an agent (none given: its own, as for what follows)."""
    beta: float | None = None
    """Beta of that loss."""
    episodes: int = 4096
    """Episodes (responses) to learn from; a larger number continues a finished run."""
    episodes_per_update: int = 64
    """Episodes that each update learns from."""
    learning_rate: float | None = None
    """Step size of the optimizer (none: the agent's own; with --model 3e-5 for ppo, else 1e-4)."""
    gamma: float = 1.0
    """Discount factor per decision, in [0, 1]."""
    gae_lambda: float | None = None
    """GAE's lambda in [0, 1], for agents with a critic (none given: the agent's own)."""
    group_size: int | None = None
    """Responses per prompt, for agents that compare within groups (none given: their own)."""
    kl_placement: str | None = None
    """Where the KL penalty is paid: reward, loss (none given: the agent's own)."""
    kl_estimator: str | None = None
    """By what the KL is estimated from the tokens chosen: k1, k2, k3 (none given: the agent's)."""
    importance: str | None = None
    """How an agent that follows a policy gradient weighs episodes of other policies: none, token,
    sequence, geometric (none given: the agent's own)."""
    staleness: int | None = None
    """How many updates old the weights are that sample (none given: 0)."""
    replay_ratio: float | None = None
    """Old episodes for each fresh one in an update (none given: only fresh ones, or with --from
    only old ones)."""
    replay_capacity: int | None = None
    """The most old episodes that are kept (none given: 4096, or all of --from)."""
    replay_priority: str | None = None
    """Which are drawn more often: uniform, recent, advantage (none given: uniform)."""
    replay_max_age: int | None = None
    """Updates after which an old episode is dropped (none given: never)."""
    from_file: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """File of recorded episodes to learn from, as RecordEpisodes writes it; without --replay-ratio
    from them alone."""
    epochs: int | None = None
    """Passes over each rollout (none given: the agent's own, as for all that follow)."""
    minibatches: int | None = None
    """Optimizer steps per pass."""
    clip_range: float | None = None
    """Largest change of a ratio that is rewarded, of agents that clip."""
    temperature: float | None = None
    """Of the softmax, in sampling and in learning."""
    lora_rank: int | None = None
    """Train low-rank adapters of this rank instead of all weights (needs the extra lora)."""
    lora_alpha: int | None = None
    """The adapters' output is scaled by lora_alpha / lora_rank."""
    precision: str | None = None
    """Of the training passes: fp32 or bf16."""
    device: str = "auto"
    """Where everything runs: cpu, cuda, cuda:1, ...; auto takes a GPU if there is one."""
    set: tuple[str, ...] = ()
    """Further settings of the agent, such as staleness=2 top_k=50 (see docs/agents.md)."""
    density: str = "terminal"
    """When the score is paid: terminal, every_k or every_8, prefix_difference, potential; process,
    process_potential or process_raw at the ends of turns."""
    every_k: int = 1
    """Tokens between two payments under the density every_k, with which alone it goes."""
    granularity: str = "token"
    """What one decision is: token, macro_N (N tokens), macro_punctuation, macro_space_led,
    macro_entropy_H (H nats), turn, bandit (the whole response)."""
    seed: int = 0
    """Of all the agent's randomness and of the choice of prompts that are shown."""
    eval_episodes: int = 256
    """Episodes of the evaluations before and after training."""

    @property
    def agent_options(self) -> dict[str, Any]:
        """Those of `AGENT_OPTIONS` that were given, and the further settings."""
        given = {name: getattr(self, name) for name in AGENT_OPTIONS}
        given = {name: value for name, value in given.items() if value is not None}
        return given | further_settings(self.agent, ",".join(self.set) or None)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Train one agent on one task."""

    problem: tyro.conf.OmitArgPrefixes[Problem]
    learning: tyro.conf.OmitArgPrefixes[Learning]
    out: Path = Path("runs/train")
    """Folder for the results; an unfinished run of the same settings in it is continued."""
    samples: int = 4
    """Prompts whose responses are shown before and after training."""
    keep_best: str | None = None
    """Evaluate every ten updates and keep the checkpoint with the largest of this figure in the
    folder best: gold, score, ... (none given: the last checkpoints only)."""
    early_warning: bool = False
    """Say when the metrics of training begin to look like reward hacking."""
    track: str = "tensorboard"
    """Where the run is logged beside its folder: wandb, trackio, mlflow (each an extra)."""
    threads: int | None = None
    """Threads of PyTorch (none given: OMP_NUM_THREADS, else one for a small model and as many as
    cores are free for a larger one)."""
    ray_workers: int | None = None
    """Workers on the Ray cluster that is there already, which make the episodes while this process
    learns (none given: this process makes them)."""

    @property
    def task_name(self) -> str | None:
        """The built-in task; None where a model is given."""
        return self.problem.task or (None if self.problem.model else DEFAULT_TASK)

    @property
    def run(self) -> RunSettings:
        """The same settings as one run of an ablation, which knows the agents and wrappers."""
        learning = self.learning
        # Every token is every first token: one wrapper does both.
        density = "every_1" if learning.density == "prefix_difference" else learning.density
        return RunSettings(
            agent=learning.agent,
            gamma=learning.gamma if "gamma" in agent_fields(learning.agent) else None,
            density=density,
            granularity=learning.granularity,
            gae_lambda=learning.gae_lambda,
            kl_coef=self.problem.kl_coef,
            group_size=learning.group_size,
            kl_placement=learning.kl_placement,
            kl_estimator=learning.kl_estimator,
            importance=learning.importance,
            staleness=learning.staleness,
            seed=learning.seed,
            budget=Budget(
                task=self.task_name or "",
                model=self.problem.model,
                own=self.problem.own,
                episodes_per_update=learning.episodes_per_update,
                learning_rate=learning.learning_rate,
                every_k=learning.every_k,
                eval_episodes=learning.eval_episodes,
            ),
        )

    def to_json(self) -> dict[str, object]:
        """Return what makes the run this run, as plain values."""
        learning = dataclasses.asdict(self.learning)
        for name in _PATHS:
            learning[name] = None if learning[name] is None else str(learning[name])
        # Absent where there are none, as in the records of earlier versions.
        learning |= {"set": list(self.learning.set)}
        if not self.learning.set:
            del learning["set"]
        fields = self.problem.to_json() | learning
        return fields | {"task": self.task_name, "samples": self.samples}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any], out: Path) -> Settings:
        """Return what `to_json` described, of a run in the folder ``out``.

        Raises:
            KeyError: if a field is missing.
        """
        names = [field.name for field in dataclasses.fields(Learning)]
        learning = {name: fields[name] for name in names if name in fields}
        for name in _PATHS:
            learning[name] = Path(learning[name]) if learning.get(name) else None
        learning["set"] = tuple(learning.get("set", ()))
        return cls(
            problem=Problem.from_json(fields),
            learning=Learning(**learning),
            out=out,
            samples=fields["samples"],
        )


def spell(sentence: str) -> str:
    """Return an error with its settings named as the command line has them."""
    return as_typed(sentence, Learning)
