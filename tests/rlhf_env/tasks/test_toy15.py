from __future__ import annotations

import pytest
import torch

from rlhf_env.exact import evaluate
from rlhf_env.rewards.protocol import PrefixReward, score
from rlhf_env.task import Task
from rlhf_env.tasks import load_task
from tests.rlhf_env.toy15_tables import RESPONSES, action_logprobs

# The cosines of 1, 3, 5; of 5, 7, 9; of 8, 10, 12; and of 15, 17, 19.
LOGITS = {
    (): (0.540302, -0.989992, 0.283662),
    (1,): (0.283662, 0.753902, -0.911130),
    (2,): (-0.145500, -0.839072, 0.843854),
    (2, 2): (-0.759688, -0.275163, 0.988705),
}


def test_settings(toy15: Task) -> None:
    assert (toy15.name, toy15.kl_coef, toy15.max_new_tokens, toy15.vocab_size) == (
        "toy15",
        0.5,
        3,
        3,
    )
    assert (toy15.eos_id, [ids.tolist() for ids in toy15.prompts]) == (0, [[0]])


@pytest.mark.parametrize("prefix", LOGITS)
def test_reference_logits(toy15: Task, prefix: tuple[int, ...]) -> None:
    found = toy15.reference(input_ids=torch.tensor([[0, *prefix]])).logits[0, -1]
    assert found.tolist() == pytest.approx(LOGITS[prefix], abs=1e-6)


def test_reference_distribution(toy15: Task) -> None:
    root = toy15.reference(input_ids=torch.tensor([[0]])).logits[0, 0].softmax(0)
    assert root.tolist() == pytest.approx([0.502483, 0.108773, 0.388744], abs=1e-6)
    mass = action_logprobs(toy15.reference).sum(dim=1).exp().sum().item()
    assert mass == pytest.approx(1.0, abs=1e-12)
    assert evaluate(toy15, toy15.reference, 0.5).reward == pytest.approx(0.039595, abs=1e-6)


def test_rewards_of_all_responses(toy15: Task) -> None:
    responses = [torch.tensor([t for t in ids if t >= 0]) for ids in RESPONSES]
    found = score(toy15.reward, [toy15.prompts[0]] * 15, responses)
    assert found.tolist() == [paid for _, paid in RESPONSES.values()]


def test_prefix_scores(toy15: Task) -> None:
    assert isinstance(toy15.reward, PrefixReward)
    prompts = [toy15.prompts[0]] * 2
    found = toy15.reward.prefix_scores(prompts, [torch.tensor([1, 2, 0]), torch.tensor([2])])
    assert [row.tolist() for row in found] == [[0.0, 1.0, 0.5, 0.75], [0.0, -0.5]]


def test_making_it_draws_nothing_from_the_global_generator() -> None:
    before = torch.random.get_rng_state()
    load_task("toy15")
    assert torch.equal(torch.random.get_rng_state(), before)
