"""What the study compares, and its budget. Nothing is run here; torch is not imported."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from agents.settings import BUILT_IN_AGENTS
from rlhf_env.defaults import ENSEMBLE_RULES
from studies.experiment.checks import check_out
from studies.experiment.numbers import number, whole_number

# Of the language model of "reviews", and tokens of its longest responses.
MOST_LAYERS = 3
SINGLE = "single"
# A tenth of the prompts is held out of each proxy's data, of which some must be there.
FEWEST_PAIRS = 120
# Options of earlier versions, and what they are called now.
FORMER_OPTIONS = {
    "--fitting.steps": "--proxy-steps",
    "--fitting.learning-rate": "--proxy-learning-rate",
    "--fitting.batch-size": "--proxy-batch-size",
    "--fitting.reference": "--reference",
    "--sampling.prompts": "--prompts",
    "--sampling.pool": "--pool",
    "--learning.updates": "--updates",
    "--learning.episodes": "--episodes",
    "--learning.learning-rate": "--learning-rate",
    "--learning.kl-coef": "--kl-coef",
}


@dataclass(frozen=True, kw_only=True)
class Proxy:
    """Reward models with one set of comparisons: a single one, or the members of an ensemble."""

    layers: int
    pairs: int
    members: int
    seed: int

    @property
    def name(self) -> str:
        """Return for example ``layers3-pairs250-seed0``."""
        return f"layers{self.layers}-pairs{self.pairs}-seed{self.seed}"


@dataclass(frozen=True, kw_only=True)
class Judge:
    """What responses are optimized for."""

    layers: int
    pairs: int
    rule: str = SINGLE

    @property
    def is_ensemble(self) -> bool:
        """Whether several models judge."""
        return self.rule != SINGLE

    @property
    def label(self) -> str:
        """Return for example ``3 layers, 250 pairs``, and the rule of an ensemble."""
        layers = "1 layer" if self.layers == 1 else f"{self.layers} layers"
        rule = f", {self.rule}" if self.is_ensemble else ""
        return f"{layers}, {self.pairs} pairs{rule}"


@dataclass(frozen=True, kw_only=True)
class Job:
    """One judge of one seed, optimized against."""

    judge: Judge
    proxy: Proxy

    @property
    def name(self) -> str:
        """Return for example ``layers3-pairs250-seed0-worst``."""
        return f"{self.proxy.name}-{self.judge.rule}"


def _option(name: str) -> object:
    """Return how a field of a part is called on the command line: without the part's name."""
    return tyro.conf.arg(name=name, prefix_name=False)


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """How proxies are fitted to comparisons."""

    steps: Annotated[int, _option("proxy-steps")] = 200
    """Optimizer steps at most; small data are gone through more often."""
    learning_rate: Annotated[float, _option("proxy-learning-rate")] = 1e-3
    """Peak step size."""
    batch_size: Annotated[int, _option("proxy-batch-size")] = 32
    """Pairs per step."""
    reference: Annotated[int, _option("reference")] = 1024
    """Responses of the reference that fix the units of all scores."""

    def epochs(self, pairs: int) -> int:
        """Return how often some data are gone through."""
        return math.ceil(self.steps * self.batch_size / pairs)


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """What the best of n is chosen from."""

    prompts: Annotated[int, _option("prompts")] = 6
    """Held-out prompts, others for each seed."""
    pool: Annotated[int, _option("pool")] = 1024
    """Responses to each; n doubles up to half of them."""


@dataclass(frozen=True, kw_only=True)
class Learning:
    """How PPO is trained."""

    updates: Annotated[int, _option("updates")] = 20
    """Rollouts; 0 leaves reinforcement learning out."""
    episodes: Annotated[int, _option("episodes")] = 64
    """Episodes of each."""
    learning_rate: Annotated[float, _option("learning-rate")] = 3e-4
    """Of Adam."""
    kl_coef: Annotated[float, _option("kl-coef")] = 0.0
    """Weight of the KL penalty."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """What is optimized against, and how hard."""

    layers: tuple[int, ...] = (1, 3)
    """Sizes: how many layers of the language model a proxy starts from, of its 3."""
    pairs: tuple[int, ...] = (250, 1000, 4000)
    """Amounts of data: comparisons that a proxy of the largest size is trained on."""
    ensemble_pairs: int = 1000
    """Comparisons of ensembles, which are of the largest size, and of the smaller sizes."""
    rules: tuple[str, ...] = ENSEMBLE_RULES
    """Ensembles: mean, worst, uncertainty; none leaves them out."""
    members: int = 4
    """Reward models of an ensemble; the first is also optimized against alone."""
    seeds: int = 3
    """Repetitions, each with comparisons, proxies, pool and policies of its own."""
    fitting: Fitting = field(default_factory=Fitting)
    """How proxies are fitted."""
    sampling: Sampling = field(default_factory=Sampling)
    """What the best of n is chosen from."""
    learning: Learning = field(default_factory=Learning)
    """How PPO is trained."""
    jobs: int = 2
    """Processes; 1 works in this one."""
    out: Path = Path("runs/overoptimization")
    """Folder of the results and of what is kept for going on."""

    @property
    def judges(self) -> tuple[Judge, ...]:
        """Amounts of data at the largest size, sizes at one amount, and the ensembles."""
        most = max(self.layers)
        found = [Judge(layers=most, pairs=pairs) for pairs in sorted(self.pairs)]
        found += [Judge(layers=layers, pairs=self.ensemble_pairs) for layers in sorted(self.layers)]
        found += [Judge(layers=most, pairs=self.ensemble_pairs, rule=rule) for rule in self.rules]
        return tuple(dict.fromkeys(found))

    def proxy(self, judge: Judge, seed: int) -> Proxy:
        """Return the models that a judge needs."""
        is_shared = judge.layers == max(self.layers) and judge.pairs == self.ensemble_pairs
        members = self.members if self.rules and is_shared else 1
        return Proxy(layers=judge.layers, pairs=judge.pairs, members=members, seed=seed)

    def all_jobs(self) -> list[Job]:
        """Return everything to be optimized; the seeds turn slowest."""
        return [
            Job(judge=judge, proxy=self.proxy(judge, seed))
            for seed in range(self.seeds)
            for judge in self.judges
        ]


def check_study(study: Study) -> None:
    """Refuse what cannot be run, before a model is loaded.

    Raises:
        ValueError: one sentence with what is wrong, what was given, and what would be right.
    """
    for name in ("layers", "pairs"):
        if not getattr(study, name):
            raise ValueError(f"{name} must hold at least one number, got none")
    for layers in study.layers:
        if not 1 <= layers <= MOST_LAYERS:
            raise ValueError(f"layers must be from 1 to {MOST_LAYERS}, got {layers}")
    for rule in study.rules:
        if rule not in ENSEMBLE_RULES:
            raise ValueError(f"rules must be among {', '.join(ENSEMBLE_RULES)}, got {rule!r}")
    for pairs in (*study.pairs, study.ensemble_pairs):
        whole_number("pairs", pairs, FEWEST_PAIRS)
    for name, least in {"members": 2 if study.rules else 1, "seeds": 1, "jobs": 1}.items():
        whole_number(name, getattr(study, name), least)
    _check_parts(study)
    check_out(study.out)


def _check_parts(study: Study) -> None:
    least = {
        "--proxy-steps": (study.fitting.steps, 1),
        "--proxy-batch-size": (study.fitting.batch_size, 1),
        "--reference": (study.fitting.reference, 2),
        "--prompts": (study.sampling.prompts, 1),
        "--pool": (study.sampling.pool, 4),
        "--updates": (study.learning.updates, 0),
        "--episodes": (study.learning.episodes, 4),
    }
    for option, (value, minimum) in least.items():
        whole_number(option, value, minimum)
    minibatches = BUILT_IN_AGENTS["ppo"].minibatches
    if study.learning.episodes % minibatches:
        raise ValueError(
            f"--episodes must be a multiple of {minibatches}, got {study.learning.episodes}"
        )
    rates = {
        "--proxy-learning-rate": study.fitting.learning_rate,
        "--learning-rate": study.learning.learning_rate,
        "--kl-coef": study.learning.kl_coef,
    }
    for option, value in rates.items():
        number(option, value, 0.0)
