"""Sampling of conversations: turns of the policy, and what the environment says between them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from gymnasium.utils import seeding
from torch import Tensor

from agents.policy import Policy
from agents.rollouts.sampling_plan import SamplingPlan
from rlhf_env.engine.engine import Engine
from rlhf_env.mdp.dialogue import Dialogue
from rlhf_env.vector_env import RLHFVectorEnv


def decode_dialogues(
    base: RLHFVectorEnv, policy: Policy, plan: SamplingPlan
) -> tuple[Dialogue, Tensor]:
    """Sample all conversations in at most N rows at a time.

    A row whose episode has ended takes the next one at once; when there are none left it gives its
    place to the last row.

    Args:
        base: its task has ``respond``.
        policy: chooses the actions.
        plan: the randomness of E episodes, that of the environment included.

    Returns:
        E finished conversations, and the log-probabilities of their actions, [E, L].
    """
    mdp, count = base.mdp, len(plan.prompts)
    texts = torch.full((count, mdp.max_tokens), base.task.pad_id, device=mdp.device)
    dialogue = Dialogue(base.task, mdp.max_new_tokens, texts)
    logprobs = torch.zeros(texts.shape, device=mdp.device)
    assert plan.environment_seeds is not None, "draw_episodes seeds conversations"
    for row, (prompt, seed) in enumerate(zip(plan.prompts, plan.environment_seeds, strict=True)):
        texts[row, : len(prompt)] = prompt.to(mdp.device)
        dialogue.start(row, len(prompt), seeding.np_random(seed)[0])
    started = min(base.num_envs, count)
    episode = torch.arange(started, device=mdp.device)
    engine = policy.lm.engine
    with engine.assume_frozen(), extending(engine):
        while len(episode):
            lengths, step = dialogue.lengths[episode], dialogue.actions[episode]
            uniforms = plan.uniforms_at(episode, step)
            chosen, logprob = policy.sample(texts[episode], lengths, uniforms)
            logprobs[episode, lengths] = logprob
            has_ended = _take(dialogue, episode, chosen)
            for row in has_ended.nonzero().flatten().flip(0).tolist():
                if started < count:
                    engine.forget_row(row)
                    episode[row] = started
                    started += 1
                    continue
                last = len(episode) - 1
                engine.copy_row(last, row)
                episode[row] = episode[last].clone()
                episode = episode[:last]
    return dialogue, logprobs


@contextmanager
def extending(engine: Any) -> Iterator[None]:
    """Let an engine continue texts by what the environment said, rather than begin anew.

    Args:
        engine: an `Engine`; others, which mix or distort one, begin anew.
    """
    before = engine.extends if isinstance(engine, Engine) else False
    engine.extends = True
    try:
        yield
    finally:
        engine.extends = before


def _take(dialogue: Dialogue, episode: Tensor, chosen: Tensor) -> Tensor:
    """Append an action to some conversations, and what the environment says to it.

    Args:
        dialogue: E conversations.
        episode: [N] the numbers of some of them.
        chosen: [N] the actions.

    Returns:
        [N] bool, which of them have ended.
    """
    rows = torch.zeros(len(dialogue.texts), dtype=torch.bool, device=chosen.device)
    tokens = torch.zeros(len(rows), dtype=torch.int64, device=chosen.device)
    rows[episode], tokens[episode] = True, chosen
    return dialogue.take(tokens, rows)[episode]
