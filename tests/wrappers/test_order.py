"""Orders of wrappers that make no sense are refused with the order that does."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest
import torch
from gymnasium.vector import VectorEnv

import wrappers
import wrappers.vector
from rlhf_env.env import RLHFEnv
from rlhf_env.task import Task
from rlhf_env.vector_env import RLHFVectorEnv
from tests.toys import tiny_llama_task
from tests.wrappers.stacks import Stack, newest_id

TASK = tiny_llama_task(vocab_size=8, horizon=4)


def made(kind: str, task: Task = TASK) -> tuple[Any, Any]:
    if kind == "single":
        return wrappers, RLHFEnv(task)
    return wrappers.vector, RLHFVectorEnv(2, task)


# What is no wrapper, and so the same for both kinds of environment.
BOUNDARIES = ["high_reference_entropy", "punctuation", "space_led"]
REFUSED: dict[str, tuple[Stack, str]] = {
    "every_k(bandit)": (
        lambda w, env: w.EveryK(w.SequenceBandit(env), k=2),
        r"put EveryK inside SequenceBandit: SequenceBandit\(EveryK\(env, \.\.\.\), \.\.\.\)",
    ),
    "macro(shaping at a discount)": (
        lambda w, env: w.MacroAction(w.PotentialShaping(env, gamma=0.9), n=2),
        r"put PotentialShaping outside MacroAction: "
        r"PotentialShaping\(MacroAction\(env, \.\.\.\), gamma=0\.9\)",
    ),
    "bandit(every_k(shaping at a discount))": (
        lambda w, env: w.SequenceBandit(w.EveryK(w.PotentialShaping(env, gamma=0.9), k=2)),
        r"so PotentialShaping with gamma=0\.9 inside it would move the optimum; "
        "put PotentialShaping outside SequenceBandit",
    ),
    "shaping(macro(shaping))": (
        lambda w, env: w.PotentialShaping(
            w.MacroAction(w.PotentialShaping(env, gamma=1.0), n=2), gamma=1.0
        ),
        "sets the reward term 'shaping', but PotentialShaping inside it already does",
    ),
    "every_k(shaping(macro))": (
        lambda w, env: w.EveryK(w.PotentialShaping(w.MacroAction(env, n=2), gamma=1.0), k=2),
        "put EveryK inside MacroAction",
    ),
    "prefix(terminal(bandit))": (
        lambda w, env: w.PrefixReward(w.TerminalReward(w.SequenceBandit(env))),
        "put PrefixReward inside SequenceBandit",
    ),
    "macro(bandit)": (
        lambda w, env: w.MacroAction(w.SequenceBandit(env), n=2),
        "MacroAction sets the time granularity, but SequenceBandit inside it has already done so",
    ),
    "bandit(macro)": (
        lambda w, env: w.SequenceBandit(w.MacroAction(env, n=2)),
        "SequenceBandit sets the time granularity, but MacroAction inside it",
    ),
    "every_k(difference)": (
        lambda w, env: w.EveryK(w.PrefixDifference(env), k=2),
        "sets the reward term 'score', but PrefixDifference inside it already does",
    ),
    "length(bandit)": (
        lambda w, env: w.LengthPenalty(w.SequenceBandit(env), coef=1.0),
        r"put LengthPenalty inside SequenceBandit: SequenceBandit\(LengthPenalty\(env, \.\.\.\)",
    ),
    "repetition(repetition)": (
        lambda w, env: w.RepetitionPenalty(w.RepetitionPenalty(env, coef=1.0), coef=1.0),
        "sets the reward term 'repetition', but RepetitionPenalty inside it already does",
    ),
    "token(macro)": (
        lambda w, env: w.TokenReward(w.MacroAction(env, n=2), newest_id),
        "put TokenReward inside MacroAction",
    ),
    "normalized(every_k)": (
        lambda w, env: w.NormalizeScore(w.EveryK(env, k=2), 0.5, 2.0),
        r"put NormalizeScore inside EveryK: EveryK\(NormalizeScore\(env, \.\.\.\), \.\.\.\)",
    ),
    "top_k(bandit)": (
        lambda w, env: w.TopKActions(w.SequenceBandit(env), k=2),
        "put TopKActions inside SequenceBandit",
    ),
    "shaping(shaping)": (
        lambda w, env: w.PotentialShaping(w.PotentialShaping(env, gamma=1.0), gamma=1.0),
        "sets the reward term 'shaping', but PotentialShaping inside it already does",
    ),
}


@pytest.mark.parametrize("kind", ["single", "vector"])
@pytest.mark.parametrize(("stack", "said"), REFUSED.values(), ids=REFUSED)
def test_an_order_without_sense_is_refused(stack: Stack, said: str, kind: str) -> None:
    with pytest.raises(ValueError, match=said):
        stack(*made(kind))


def test_a_foreign_change_of_the_reward_belongs_outside() -> None:
    env = gym.wrappers.TransformReward(RLHFEnv(TASK), lambda reward: 2 * reward)
    with pytest.raises(ValueError, match="put TransformReward outside"):
        wrappers.EveryK(env, k=2)
    gym.wrappers.TransformReward(wrappers.EveryK(RLHFEnv(TASK), k=2), lambda reward: 2 * reward)


@pytest.mark.parametrize("name", ["EveryK", "PrefixDifference", "PotentialShaping", "PrefixReward"])
@pytest.mark.parametrize("kind", ["single", "vector"])
def test_a_reward_that_cannot_score_prefixes_is_refused(kind: str, name: str) -> None:
    class WholeResponses:
        def __call__(self, prompts: list, responses: list) -> torch.Tensor:
            return torch.zeros(len(responses))

    task = Task(
        name="whole",
        tokenizer=TASK.tokenizer,
        reference=TASK.reference,
        reward=WholeResponses(),
        prompts=TASK.prompts,
        max_prompt_tokens=5,
        max_new_tokens=4,
    )
    package, env = made(kind, task)
    options = {"EveryK": {"k": 2}, "PotentialShaping": {"gamma": 1.0}}.get(name, {})
    with pytest.raises(
        ValueError, match=f"{name} needs a reward that can score prefixes, got WholeResponses"
    ):
        getattr(package, name)(env, **options)
    package.PotentialShaping(env, 1.0, potential=lambda prompts, responses: [])


def test_only_this_environment_can_be_wrapped() -> None:
    cart_pole = gym.make("CartPole-v1")
    for make in (
        lambda: wrappers.EveryK(cart_pole, k=2),
        lambda: wrappers.TerminalReward(cart_pole),
        lambda: wrappers.SequenceBandit(cart_pole),
        lambda: wrappers.MacroAction(cart_pole, n=2),
    ):
        with pytest.raises(TypeError, match="wraps an RLHF-v0 environment, got"):
            make()


def test_every_wrapper_has_a_vector_version() -> None:
    assert {*wrappers.vector.__all__} == {*wrappers.__all__} - {"vector"}
    for name in wrappers.vector.__all__:
        if name in BOUNDARIES:
            assert getattr(wrappers.vector, name) is getattr(wrappers, name)
            continue
        single, vector = getattr(wrappers, name), getattr(wrappers.vector, name)
        assert issubclass(single, gym.Wrapper)
        assert issubclass(vector, VectorEnv)
        # Both are in one module, so the class has a name of its own.
        assert (single.__name__, vector.__name__) == (name, f"Vector{name}")
        assert single.__module__ == vector.__module__
    with pytest.raises(AttributeError, match="attribute Nothing"):
        _ = wrappers.Nothing
