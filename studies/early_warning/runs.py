"""One run: PPO on the reviews against a proxy or the truth, and its metrics update by update."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path

import gymnasium as gym
import pandas as pd
from torch import Tensor

from agents import PPO
from rlhf_env import Task, load_task
from rlhf_env.rewards import Ensemble
from studies.early_warning.settings import GOLD, Study
from studies.overoptimization.policies import measured_scales
from studies.overoptimization.proxies import load_judge, train_proxy
from studies.overoptimization.settings import Fitting, Judge, Proxy
from wrappers.vector import NormalizeScore

COLUMNS = ("update", "score", "gold", "kl", "response_length", "entropy", "disagreement")
_RULE = "mean"


class PaidByGold:
    """The truth is paid, while an ensemble of proxies is only asked how much it disagrees."""

    def __init__(self, task: Task, ensemble: Ensemble) -> None:
        """Take the gold reward of a task."""
        assert task.gold is not None
        self.gold, self.ensemble = task.gold, ensemble

    def __call__(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        """Return the gold scores, [B]."""
        return self.gold(prompts, responses)

    def disagreement(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        """Return the deviation over the members of the ensemble, [B]."""
        return self.ensemble.disagreement(prompts, responses)


def train_run(study: Study, arm: str, seed: int) -> pd.DataFrame:
    """Train one policy and return `COLUMNS`, a row per update.

    ``score`` is what is paid, in spreads of the reference's responses.
    """
    task = _task()
    ensemble = _ensemble(study, seed)
    reward = PaidByGold(task, ensemble) if arm == GOLD else ensemble
    paid = dataclasses.replace(task, reward=reward)
    scale = measured_scales(reward, task, _fitting(study), seed).proxy
    plain = gym.make_vec(
        "RLHF-v0", num_envs=min(study.episodes, 64), task=paid, kl_coef=study.coefficient(arm)
    )
    agent = PPO(
        NormalizeScore(plain, mean=scale.mean, sd=scale.sd),
        learning_rate=study.learning_rate,
        episodes_per_update=study.episodes,
        seed=seed,
    )
    history = agent.learn(study.updates * study.episodes, progress=False)
    return pd.DataFrame([{name: row[name] for name in COLUMNS} for row in history])


def _ensemble(study: Study, seed: int) -> Ensemble:
    """Return the ensemble of a seed, trained once."""
    folder = study.out / "ensembles" / f"seed-{seed}"
    if not folder.is_dir():
        _train_ensemble(study, seed, folder)
    loaded = load_judge(Judge(layers=1, pairs=study.pairs, rule=_RULE), folder)
    assert isinstance(loaded, Ensemble)
    return loaded


def _train_ensemble(study: Study, seed: int, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    proxy = Proxy(layers=1, pairs=study.pairs, members=study.members, seed=seed)
    train_proxy(proxy, _fitting(study), _task(), folder)


def _fitting(study: Study) -> Fitting:
    return Fitting(steps=study.proxy_steps, reference=256)


@cache
def _task() -> Task:
    return load_task("reviews")
