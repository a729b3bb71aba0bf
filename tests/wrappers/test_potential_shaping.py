from __future__ import annotations

import pytest
import torch
from torch import Tensor

import wrappers
from rlhf_env import exact
from rlhf_env.env import RLHFEnv
from rlhf_env.task import Task
from tests.toys import tiny_llama_task
from tests.wrappers.episodes import TOY15, paid, soft_optimum
from tests.wrappers.stacks import longer_is_better
from wrappers.prefix_scores import PrefixScorer


def wavy(prompts: list[Tensor], responses: list[Tensor]) -> list[Tensor]:
    """A potential that is 2 before the first token and has nothing to do with the score."""
    return [
        2 * torch.cos(torch.cat([ids.new_zeros(1), ids]).cumsum(0).double()) for ids in responses
    ]


def test_the_return_is_less_by_the_potential_of_the_prompt(toy15: Task) -> None:
    env = wrappers.PotentialShaping(RLHFEnv(toy15, kl_coef=0.0), gamma=1.0, potential=wavy)
    for response, score in TOY15.items():
        env.reset(seed=0)
        rewards = [env.step(token)[1] for token in response]
        assert sum(rewards) == pytest.approx(score - 2.0, abs=1e-9)


def test_the_score_is_kept_and_shaping_is_its_own_term(toy15: Task) -> None:
    env = wrappers.PotentialShaping(RLHFEnv(toy15), gamma=0.5)
    assert paid(env, (1, 1, 0)) == [0.0, 0.0, 2.25]
    # Phi = 0, 1, 2, then 0: terminal.
    assert paid(env, (1, 1, 0), "shaping") == pytest.approx([0.5, 0.0, -2.0], abs=1e-9)


def test_the_potential_stays_where_an_episode_is_truncated(toy15: Task) -> None:
    env = wrappers.PotentialShaping(RLHFEnv(toy15, length_limit="bootstrap"), gamma=0.5)
    # Phi = 0, 1, 2, 3 and no end; with EOS the third is terminal.
    assert paid(env, (1, 1, 1), "shaping") == pytest.approx([0.5, 0.0, -0.5], abs=1e-9)
    assert paid(env, (1, 1, 0), "shaping") == pytest.approx([0.5, 0.0, -2.0], abs=1e-9)


def test_the_potential_sees_the_prompt() -> None:
    task = tiny_llama_task(vocab_size=8, horizon=4)
    env = wrappers.PotentialShaping(RLHFEnv(task), gamma=1.0, potential=longer_is_better)
    env.reset(options={"prompt_index": 2})
    terms = [env.step(token)[4]["reward_terms"]["shaping"] for token in (3, 1)]
    # Five prompt tokens, then a sixth, then the end.
    assert terms == pytest.approx([0.5, -3.0], abs=1e-9)


@pytest.mark.parametrize("potential", [None, wavy])
@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_the_optimum_is_unchanged(
    toy15: Task, gamma: float, potential: PrefixScorer | None
) -> None:
    env = wrappers.PotentialShaping(RLHFEnv(toy15), gamma=gamma, potential=potential)
    shaped = soft_optimum(env, toy15, gamma)
    plain = exact.solve(toy15, kl_coef=0.5, gamma=gamma).policy
    assert len(shaped) == 7
    for prefix, probabilities in plain.items():
        assert shaped[prefix] == pytest.approx(probabilities, abs=1e-6)
    if gamma == 1.0:
        assert shaped[()] == pytest.approx([0.087267, 0.857236, 0.055497], abs=1e-6)


def test_another_gamma_than_the_agents_moves_the_optimum(toy15: Task) -> None:
    env = wrappers.PotentialShaping(RLHFEnv(toy15), gamma=0.5, potential=wavy)
    plain = exact.solve(toy15, kl_coef=0.5, gamma=1.0).policy
    assert abs(soft_optimum(env, toy15, 1.0)[()][0] - plain[()][0]) > 0.01


@pytest.mark.parametrize("gamma", [-0.1, 1.1, float("nan"), "1", None, True])
def test_gamma_must_be_a_discount(toy15: Task, gamma: object) -> None:
    with pytest.raises(ValueError, match=r"gamma must be a number in \[0, 1\], got"):
        wrappers.PotentialShaping(RLHFEnv(toy15), gamma)  # type: ignore[arg-type]


def test_a_potential_must_be_a_function(toy15: Task) -> None:
    with pytest.raises(TypeError, match=r"potential must be a function .* got float"):
        wrappers.PotentialShaping(RLHFEnv(toy15), 1.0, potential=0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ([torch.zeros(1)], r"2 finite numbers for response 0 of 1 tokens, got \[0.0\]"),
        ([torch.tensor([0.0, float("nan")])], "2 finite numbers"),
        ([], "1 vectors, one per response, got 0"),
    ],
)
def test_a_potential_must_answer_for_every_prefix(toy15: Task, answer: list, said: str) -> None:
    env = wrappers.PotentialShaping(RLHFEnv(toy15), 1.0, potential=lambda p, r: answer)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=said):
        env.step(1)
