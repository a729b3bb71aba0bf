from __future__ import annotations

import pytest
import torch
from torch import Tensor

import wrappers
import wrappers.vector
from rlhf_env import exact
from rlhf_env.env import RLHFEnv
from rlhf_env.task import Task
from rlhf_env.tasks.toy15 import reward as toy15_reward
from rlhf_env.vector_env import RLHFVectorEnv
from tests.toys import tiny_llama_task
from tests.wrappers.episodes import (
    TOY15,
    as_rollout,
    paid,
    play,
    soft_macro_optimum,
    soft_optimum,
    transformed,
)
from tests.wrappers.stacks import after_token_two, longer_is_better
from wrappers.macro.boundary import Boundary
from wrappers.reward_terms import PrefixScorer


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


def test_the_discount_can_be_read_from_the_wrapper(toy15: Task) -> None:
    assert wrappers.PotentialShaping(RLHFEnv(toy15), gamma=0.9).shaping_gamma == 0.9
    envs = wrappers.vector.PotentialShaping(RLHFVectorEnv(2, toy15), gamma=1)
    assert envs.shaping_gamma == 1.0
    # Other densities ask for no discount of their own.
    assert not hasattr(wrappers.EveryK(RLHFEnv(toy15), k=2), "shaping_gamma")


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


# The optimum of "toy15" with a decision per two tokens, at beta 0.5, from a separate computation.
MACRO_OPTIMUM = {
    1.0: [0.087267, 0.048081, 0.798669, 0.010486, 0.005929, 0.042869, 0.006699],
    0.9: [0.127558, 0.070280, 0.719506, 0.012335, 0.008666, 0.050429, 0.011227],
}
MACROS = [(0,), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]


@pytest.mark.parametrize("potential", [None, wavy])
@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_the_optimum_among_macro_actions_is_unchanged(
    toy15: Task, gamma: float, potential: PrefixScorer | None
) -> None:
    env = wrappers.MacroAction(RLHFEnv(toy15), n=2)
    plain = soft_macro_optimum(env, toy15, gamma)
    root = dict(zip(MACROS, MACRO_OPTIMUM[gamma], strict=True))
    assert plain[()] == pytest.approx(root, abs=1e-6)
    shaped = soft_macro_optimum(
        wrappers.PotentialShaping(env, gamma=gamma, potential=potential), toy15, gamma
    )
    assert set(shaped) == {(), (1, 1), (1, 2), (2, 1), (2, 2)}
    for prefix, probabilities in plain.items():
        assert shaped[prefix] == pytest.approx(probabilities, abs=1e-9)


def test_shaping_by_token_would_move_the_optimum_among_macro_actions(toy15: Task) -> None:
    def shaped(prompt: Tensor, response: Tensor) -> float:
        ids = tuple(response.tolist())
        after = 0.0 if ids[-1] == 0 or len(ids) == 3 else toy15_reward(ids)
        return 0.9 * after - toy15_reward(ids[:-1])

    env = wrappers.MacroAction(wrappers.TokenReward(RLHFEnv(toy15), shaped), n=2)
    # Against 0.127558; this is why `PotentialShaping` is refused there.
    assert soft_macro_optimum(env, toy15, 0.9)[()][(0,)] == pytest.approx(0.147980, abs=1e-6)


@pytest.mark.parametrize(
    "boundary", [after_token_two, wrappers.high_reference_entropy(0.9)], ids=["after_two", "doubt"]
)
def test_the_optimum_among_actions_up_to_a_boundary_is_unchanged(
    toy15: Task, boundary: Boundary
) -> None:
    env = wrappers.MacroAction(RLHFEnv(toy15), boundary=boundary)
    plain = soft_macro_optimum(env, toy15, 0.9)
    shaped = soft_macro_optimum(wrappers.PotentialShaping(env, 0.9, wavy), toy15, 0.9)
    assert len(plain) > 1
    for prefix, probabilities in plain.items():
        assert shaped[prefix] == pytest.approx(probabilities, abs=1e-9)


def test_an_action_is_paid_between_its_ends(toy15: Task) -> None:
    env = wrappers.PotentialShaping(wrappers.MacroAction(RLHFEnv(toy15), n=2), gamma=0.5)
    terms = [info["reward_terms"]["shaping"] for *_, info in play(env, [[1, 1], [1, 0]])]
    # Phi = 0 before, 2 after two tokens, then terminal.
    assert terms == pytest.approx([1.0, -2.0], abs=1e-9)
    rollout = transformed(env, as_rollout(toy15, [(0, (1, 1, 1)), (0, (1, 0))]))
    assert rollout.reward_terms["shaping"].tolist() == [[0, 0, 1, -2], [0, 0, 0, 0]]


def test_an_action_that_is_cut_short_keeps_its_potential(toy15: Task) -> None:
    macro = wrappers.MacroAction(RLHFEnv(toy15, length_limit="bootstrap"), n=2)
    env = wrappers.PotentialShaping(macro, gamma=0.5)
    terms = [info["reward_terms"]["shaping"] for *_, info in play(env, [[1, 1], [1, 0]])]
    assert terms == pytest.approx([1.0, -0.5], abs=1e-9)


def test_a_bandit_is_paid_the_potential_of_its_prompt(toy15: Task) -> None:
    bandit = wrappers.SequenceBandit(RLHFEnv(toy15))
    env = wrappers.PotentialShaping(bandit, gamma=0.5, potential=wavy)
    for response in TOY15:
        ((*_, info),) = play(env, [[*response, 0, 0][:3]])
        assert info["reward_terms"]["shaping"] == pytest.approx(-2.0, abs=1e-9)


def test_inside_an_action_the_rollout_is_paid_by_token_whatever_its_decisions(toy15: Task) -> None:
    shaping = wrappers.PotentialShaping(RLHFEnv(toy15), gamma=1.0)
    env = wrappers.MacroAction(shaping, n=2)
    rollout = transformed(env, as_rollout(toy15, [(0, (1, 1, 1))]))
    again = transformed(env, rollout)
    for paid_rollout in (rollout, again):
        assert paid_rollout.reward_terms["shaping"].tolist() == [[0, 1, 1, -2]]
        assert paid_rollout.decision.tolist() == [[-1, 0, 0, 1]]


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
