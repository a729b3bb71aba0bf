"""Prompts that are solved half of the time: better per episode, worse per token."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from agents import RLOO, collect
from agents.samplers.prompt_tiers import PromptTiers
from rlhf_env.exact import evaluate
from studies.zoo.claim import Claim, Contrast
from studies.zoo.experiments.computed import Computed
from studies.zoo.tasks import ladder_task
from studies.zoo.verdict import Exceeds

_UPDATES, _GROUPS, _SIZE, _TOKENS = 60, 8, 4, 10_000


def _compute(arm: str, seed: int) -> dict[str, float]:
    task = ladder_task()
    envs: Any = gym.make_vec("RLHF-v0", num_envs=_GROUPS * _SIZE, task=task)
    agent = RLOO(
        envs,
        group_size=_SIZE,
        episodes_per_update=_GROUPS * _SIZE,
        learning_rate=0.03,
        seed=seed,
    )
    tiers, even = PromptTiers(len(task.prompts), seed=seed), np.random.default_rng(seed)
    spent, scores, tokens = 0.0, [], []
    for update in range(_UPDATES):
        drawn = even.integers(len(task.prompts), size=_GROUPS)
        chosen = tiers.draw(_GROUPS, update) if arm == "near one half" else drawn
        prompts = [task.prompts[number] for number in chosen]
        count = _GROUPS * _SIZE
        rollout = collect(
            envs, agent.policy, count, seed=(seed, update), group_size=_SIZE, prompts=prompts
        )
        tiers.observe(np.repeat(chosen, _SIZE), rollout.score.numpy())
        agent.update(rollout)
        spent += float(rollout.response_lengths.sum())
        tokens.append(spent)
        known = [
            evaluate(task, agent.policy.model, 0.0, prompt_index=number).reward
            for number in range(len(task.prompts))
        ]
        scores.append(sum(known) / len(known))
    return {
        "score, mean over episodes": float(np.mean(scores)),
        "score": scores[-1],
        "score at 10,000 tokens": float(np.interp(_TOKENS, tokens, scores)),
        "thousand tokens": spent / 1000,
    }


CLAIM = Claim(
    title="Prompts near one half: better per episode, worse per token",
    citation="OpenEnv RFC 013, https://github.com/huggingface/OpenEnv",
    says="Drawing tasks that are solved about half of the time learns more per episode than "
    "drawing "
    "evenly, and less per token, as those responses are longer.",
    reported="71.4 against 67.4 % at 64,000 episodes, 67.8 against 73.6 % at 6 million tokens, one "
    "seed; read at the source",
    setting="A task of our own (studies.zoo.tasks): eight prompts on the rungs of one ladder, from "
    "hopeless to easy. RLOO, 60 updates of 8 groups of 4, step size 0.03, no KL; prompts are drawn "
    "evenly or by p (1 − p) as seen so far.",
    truth="the exact expected score of every policy, averaged over all prompts",
    experiment=Computed(
        arms=("near one half", "evenly"),
        measures=(
            "score, mean over episodes",
            "score",
            "score at 10,000 tokens",
            "thousand tokens",
        ),
        compute=_compute,
    ),
    contrasts=(
        Contrast(
            says="mean exact score over the episodes: near one half minus evenly",
            measure="score, mean over episodes",
            more="near one half",
            less="evenly",
            rule=Exceeds(size=0.01),
        ),
        Contrast(
            says="exact score at 10,000 tokens: evenly minus near one half",
            measure="score at 10,000 tokens",
            more="evenly",
            less="near one half",
            rule=Exceeds(size=0.01),
        ),
    ),
    guess="Per episode it held. Per token the two are level at 10,000 tokens: responses to the "
    "chosen prompts are an eighth longer, which about uses up the gain. There are eight prompts "
    "and all are learned, so nothing is lost by choosing either.",
)
