from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import wrappers
from rlhf_env.env import RLHFEnv
from rlhf_env.task import Task
from tests.toys import EOS, tiny_llama_task
from tests.wrappers.episodes import TOY15, as_rollout, paid, play, transformed
from wrappers.every_k import score_differences
from wrappers.reward_terms import ScoredPrefixes

TASK = tiny_llama_task(vocab_size=8, horizon=6)


@pytest.mark.parametrize("k", [1, 2, 3, 7])
def test_the_pieces_add_up_to_the_score(toy15: Task, k: int) -> None:
    env = wrappers.EveryK(RLHFEnv(toy15), k)
    for response, score in TOY15.items():
        assert sum(paid(env, response)) == pytest.approx(score, abs=1e-9)
    rollout = transformed(env, as_rollout(toy15, [(0, response) for response in TOY15]))
    sums = rollout.reward_terms["score"].sum(dim=1)
    torch.testing.assert_close(sums, torch.tensor(list(TOY15.values())), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("k", "pieces"),
    [(1, [0.9, -0.1, 0.9, 0.9, -0.1]), (2, [0, 0.8, 0, 1.8, -0.1]), (4, [0, 0, 0, 2.6, -0.1])],
)
def test_pieces_of_k_tokens(k: int, pieces: list[float]) -> None:
    env = wrappers.EveryK(RLHFEnv(TASK), k)
    assert paid(env, [5, 2, 5, 5, EOS]) == pytest.approx(pieces, abs=1e-6)


def test_the_last_piece_holds_the_penalty_for_a_missing_eos() -> None:
    env = wrappers.EveryK(RLHFEnv(TASK, length_limit="penalize", missing_eos_penalty=2.0), k=4)
    assert paid(env, [2] * 6) == pytest.approx([0, 0, 0, -0.4, 0, -2.2], abs=1e-6)


def test_a_truncated_episode_has_no_last_piece() -> None:
    env = wrappers.EveryK(RLHFEnv(TASK, length_limit="bootstrap"), k=4)
    assert paid(env, [2] * 6) == pytest.approx([0, 0, 0, -0.4, 0, 0], abs=1e-6)
    env = wrappers.EveryK(RLHFEnv(TASK, length_limit="bootstrap"), k=3)
    assert paid(env, [2] * 6) == pytest.approx([0, 0, -0.3, 0, 0, -0.3], abs=1e-6)


def test_the_score_of_the_empty_prefix_counts_as_zero() -> None:
    scored = ScoredPrefixes(
        phi=torch.tensor([[9.0, 1.0, 4.0]]),
        counts=torch.tensor([1, 2]),
        starts=torch.tensor([[0, 1]]),
        is_last=torch.tensor([[True, True]]),
        is_end=torch.tensor([[False, True]]),
        score_term=torch.tensor([[4.0]]),
    )
    assert score_differences(scored, 1).tolist() == [[1.0, 3.0]]


@given(phi=st.lists(st.floats(-5, 5), min_size=2, max_size=9), k=st.integers(1, 10))
def test_the_sum_is_what_the_end_is_paid(phi: list[float], k: int) -> None:
    length = len(phi) - 1
    counts = torch.arange(1, length + 1)
    scored = ScoredPrefixes(
        phi=torch.tensor([phi], dtype=torch.float64),
        counts=counts,
        starts=counts[None] - 1,
        is_last=torch.ones(1, length, dtype=torch.bool),
        is_end=(counts == length)[None],
        score_term=torch.tensor([[0.125]], dtype=torch.float64),
    )
    assert float(score_differences(scored, k).sum()) == pytest.approx(0.125, abs=1e-9)


def test_the_kl_term_and_the_report_are_untouched() -> None:
    response = [5, 2, EOS]
    plain = play(RLHFEnv(TASK), response)
    dense = play(wrappers.EveryK(RLHFEnv(TASK), k=2), response)
    for (*_, expected), (*_, info) in zip(plain, dense, strict=True):
        assert info["reward_terms"]["kl"] == expected["reward_terms"]["kl"]
        assert info["ref_logprob"] == expected["ref_logprob"]
    assert dense[-1][4]["score"] == plain[-1][4]["score"]


def test_prefixes_are_scored_only_where_a_piece_is_due() -> None:
    calls = []

    class Counting:
        def __call__(self, prompts: list, responses: list) -> torch.Tensor:
            return torch.zeros(len(responses))

        def prefix_scores(self, prompts: list, responses: list) -> list[torch.Tensor]:
            calls.append(len(responses[0]))
            return [torch.zeros(len(ids) + 1) for ids in responses]

    task = Task(
        name="counting",
        tokenizer=TASK.tokenizer,
        reference=TASK.reference,
        reward=Counting(),
        prompts=TASK.prompts,
        max_prompt_tokens=5,
        max_new_tokens=6,
    )
    play(wrappers.EveryK(RLHFEnv(task), k=2), [2, 2, 2, 2, EOS])
    assert calls == [2, 4, 5]


@pytest.mark.parametrize("k", [0, -1, 1.5, True, "2", None])
def test_k_must_be_a_positive_integer(toy15: Task, k: object) -> None:
    with pytest.raises(ValueError, match="k must be an integer >= 1, got"):
        wrappers.EveryK(RLHFEnv(toy15), k)  # type: ignore[arg-type]
