"""Checks of environments that step a token at a time and pay a score and a KL term."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch

from rlhf_env.testing.claims import CheckList, NotApplicable, expect
from rlhf_env.testing.env_case import SEEDS, EnvCase
from rlhf_env.testing.episodes import Step, play, reference_logits, token_space

CHECKS = CheckList("env")


@CHECKS.add("NVIDIA-NeMo/Gym#1525; huggingface/trl#4841")
def the_terms_of_a_reward_add_up(case: EnvCase) -> str:
    """Every step names the terms of its reward, and they add up to it."""
    names: set[str] = set()
    for step in case.steps():
        terms = step.info.get("reward_terms")
        if not isinstance(terms, dict):
            raise AssertionError(f"info has {sorted(step.info)}, not reward_terms")
        names |= set(terms)
        total = sum(terms.values())
        expect(abs(total - step.reward) < 1e-6, f"{terms} for a reward of {step.reward:.6g}")
    return f"terms {', '.join(sorted(names))}"


@CHECKS.add("huggingface/trl#3750, #1893, #5338")
def the_score_is_paid_in_full(case: EnvCase) -> None:
    """The score's payments of an episode add up to the score that its last step tells."""
    for steps in case.episodes():
        terms = [step.info.get("reward_terms", {}).get("score") for step in steps]
        score = steps[-1].info.get("score")
        if score is None or None in terms:
            raise NotApplicable("it tells no score")
        if steps[-1].info.get("finish_reason") != "eos":
            # What has no EOS may be paid less.
            continue
        expect(abs(sum(terms) - score) < 1e-4, f"{terms} paid for a score of {score:.6g}")


@CHECKS.add("openai/lm-human-preferences; huggingface/trl#3750")
def the_last_step_pays_its_kl_too(case: EnvCase) -> None:
    """The score joins the KL of the last token and does not replace it."""
    env = case.make()
    beta = getattr(env.unwrapped, "kl_coef", None)
    for seed in SEEDS:
        _, _, steps = play(env, seed)
        rates = [_kl_rate(step) for step in steps]
        if beta is None or any(rate is None or abs(rate - beta) > 1e-3 for rate in rates[:-1]):
            raise NotApplicable("its KL term is not beta log pi_ref of one token")
        if rates[-1] is not None and len(steps) > 1:
            seen = f"{rates[-1]:.6g} per nat at the last step, {beta:.6g} before"
            expect(abs(rates[-1] - beta) < 1e-3, seen)


@CHECKS.add("Farama-Foundation/Gymnasium spaces.Discrete.contains")
def an_action_that_is_none_is_refused(case: EnvCase) -> None:
    """Ids outside the vocabulary, and what is no number, raise an error and take no step."""
    env = case.make()
    size = int(token_space(env).n)
    for action in (size, -1, 1.5, None, "a"):
        env.reset(seed=0)
        try:
            env.step(action)
        except Exception:
            continue
        raise AssertionError(f"the step was taken with the action {action!r}")


@CHECKS.add("huggingface/transformers#35352; huggingface/trl#3091")
def what_was_said_stays_in_the_observation(case: EnvCase) -> None:
    """Each step appends its token behind what was there, and the mask tells how much there is."""
    env = case.make()
    space = env.observation_space
    if not isinstance(space, gym.spaces.Dict) or set(space) != {"input_ids", "attention_mask"}:
        raise NotApplicable("its observation is not input_ids and attention_mask")
    token_space(env)
    before, _, steps = play(env, 4)
    for step in steps:
        now = step.observation
        length = int(before["attention_mask"].sum())
        expect(int(now["attention_mask"].sum()) == length + 1, "the mask does not grow by one")
        kept = np.array_equal(now["input_ids"][:length], before["input_ids"][:length])
        expect(kept, "what was there has changed")
        said = int(now["input_ids"][length])
        if isinstance(env.action_space, gym.spaces.Discrete) and env.action_space.n == _tokens(env):
            expect(said == int(step.action), f"token {said} for the action {step.action}")
        before = now


@CHECKS.add("huggingface/transformers#25420; CarperAI/trlx#582; PrimeIntellect-ai/prime-rl#1525")
def the_reference_scores_the_token_that_was_said(case: EnvCase) -> str:
    """Info's ref_logprob is what one pass of the reference over the whole text gives."""
    env = case.make()
    task = getattr(env.unwrapped, "task", None)
    _, _, steps = play(env, 7)
    is_told = all("ref_logprob" in step.info for step in steps)
    if task is None or not is_told or not isinstance(steps[-1].observation, dict):
        raise NotApplicable("it has no task, or tells no ref_logprob")
    last = steps[-1].observation
    if "input_ids" not in last or env.action_space.shape != ():
        raise NotApplicable("a step is not one token")
    length = int(last["attention_mask"].sum())
    ids = torch.as_tensor(last["input_ids"][:length])
    logprobs = reference_logits(task, [ids])[0].log_softmax(-1)
    begin = length - len(steps)
    due = [float(logprobs[begin + t - 1, ids[begin + t]]) for t in range(len(steps))]
    gap = max(abs(step.info["ref_logprob"] - value) for step, value in zip(steps, due, strict=True))
    expect(gap < 1e-3, f"off by up to {gap:.3g} nats")
    return f"within {gap:.1g} nats"


def _kl_rate(step: Step) -> float | None:
    """What one nat of log pi_ref is paid, None where that is not known."""
    nats, terms = step.info.get("ref_logprob"), step.info.get("reward_terms", {})
    if not isinstance(nats, float) or "kl" not in terms or abs(nats) < 1e-3:
        return None
    return terms["kl"] / nats


def _tokens(env: gym.Env[Any, Any]) -> int:
    task = getattr(env.unwrapped, "task", None)
    return -1 if task is None else task.vocab_size
