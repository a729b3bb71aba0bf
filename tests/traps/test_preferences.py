"""Preferences (traps F10 to F14) through what trains, keeps and asks a reward model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2Model

from rlhf_env.rewards import Comparison, Ranking, RewardSettings, TrainedReward, load_reward
from rlhf_env.rewards.bradley_terry import ScalarRewardModel
from rlhf_env.rewards.training.elements import Element, encode_records
from rlhf_env.rewards.training.fit import evaluate, fit
from rlhf_env.rewards.training.pair_objectives import PairObjective, PlackettLuceObjective
from rlhf_env.rewards.training.preference_losses import vote_losses
from tests.toys import tiny_tokenizer

SCORES = {"w2": 2.0, "w3": 1.0, "w4": 0.0, "w5": -1.0, "w6": 0.3, "w7": -0.2, "w8": 0.2}
FOUR = Ranking(prompt="w9", responses=("w2", "w3", "w4", "w5"), ranks=(1, 2, 3, 4))
TWO = Ranking(prompt="w10", responses=("w6", "w7"), ranks=(1, 2))


class WordScores(nn.Module):
    """The score of a text is that of its second word; the first is the prompt."""

    def __init__(self) -> None:
        super().__init__()
        table = torch.zeros(32)
        for word, score in SCORES.items():
            table[int(word[1:])] = score
        self.table = nn.Parameter(table)

    def scores(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.table[input_ids[:, 1:2]].expand(input_ids.shape)


def elements(objective: Any, *records: Any) -> list[Element[Any]]:
    return encode_records(records, tiny_tokenizer(), objective.target)


@pytest.mark.parametrize(
    ("objective", "of_four", "of_both"),
    [
        # (0.207038 + 0.474077) / 2; seven pairs on their own would cost 0.245186.
        (PairObjective(), 0.207038, 0.340558),
        # (1.161057 + 0.474077) / 2.
        (PlackettLuceObjective(), 1.161057, 0.817567),
    ],
    ids=["pairs", "plackett-luce"],
)
def test_a_prompt_weighs_once_however_many_responses_it_has(
    objective: Any, of_four: float, of_both: float
) -> None:
    """Trap F11: scores 2, 1, 0, -1 of one prompt, and 0.3, -0.2 of another."""
    one, both = elements(objective, FOUR), elements(objective, FOUR, TWO)
    assert evaluate(WordScores(), objective, one, 8).loss == pytest.approx(of_four, abs=1e-6)
    assert evaluate(WordScores(), objective, both, 8).loss == pytest.approx(of_both, abs=1e-6)
    settings = RewardSettings(epochs=1, batch_size=2, learning_rate=1e-9)
    history = fit(WordScores(), objective, both, both, settings, torch.Generator())
    assert history.train_losses == pytest.approx((of_both,), abs=1e-6)


def test_six_pairs_of_four() -> None:
    """Trap F11: their sum."""
    first, second = torch.triu_indices(4, 4, offset=1)
    scores, votes = torch.tensor([2.0, 1.0, 0.0, -1.0]), torch.tensor([[1.0, 0.0, 0.0]] * 6)
    total = vote_losses(scores[first], scores[second], votes, 0.0).sum()
    assert total.item() == pytest.approx(1.242228, abs=1e-6)


@pytest.mark.parametrize(
    ("objective", "margin", "expected"),
    [
        (PairObjective(), 0.0, 0.371101),
        (PairObjective(), 0.5, 0.554355),
        (PairObjective(centering_coef=0.01), 0.0, 0.385501),
    ],
)
def test_one_pair(objective: PairObjective, margin: float, expected: float) -> None:
    """Trap F10: scores 1 and 0.2."""
    pair = Comparison(prompt="w9", chosen="w3", rejected="w8", margin=margin)
    found = evaluate(WordScores(), objective, elements(objective, pair), 1)
    assert found.loss == pytest.approx(expected, abs=1e-6)
    assert found.accuracy == 1.0


def test_a_pair_of_one_and_the_same_text_teaches_nothing() -> None:
    """Trap F12: ln 2, no slope, and no part of the accuracy."""
    objective, model = PairObjective(), WordScores()
    rows = elements(objective, Comparison(prompt="w9", chosen="w3", rejected="w3"))
    settings = RewardSettings(epochs=1, batch_size=1, learning_rate=0.1, weight_decay=0.0)
    history = fit(model, objective, rows, rows, settings, torch.Generator())
    assert history.train_losses == pytest.approx((0.693147,), abs=1e-6)
    assert torch.equal(model.table, WordScores().table)
    assert history.best.accuracy is None


def reward_with_dropout() -> TrainedReward:
    config = GPT2Config(
        vocab_size=32, n_embd=16, n_layer=1, n_head=2, n_positions=32, resid_pdrop=0.5
    )
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        model = ScalarRewardModel(GPT2Model(config)).train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.5, generator=generator)
    return TrainedReward(model, tiny_tokenizer(), max_tokens=32)


def test_a_scale_is_kept_with_the_model(tmp_path: Path) -> None:
    """Traps F13 and F14: mean 0 and spread 1, in the same order, with dropout off, once loaded."""
    reward = reward_with_dropout()
    prompts = [torch.tensor([2, 3])] * 6
    responses = [torch.tensor([number, 1]) for number in range(4, 10)]
    before = reward(prompts, responses)
    assert torch.equal(before, reward(prompts, responses))
    reward.normalize(prompts, responses)
    reward.save(tmp_path / "reward")
    loaded = load_reward(tmp_path / "reward")
    after = loaded(prompts, responses)
    assert after.mean().item() == pytest.approx(0.0, abs=1e-6)
    assert after.std(correction=0).item() == pytest.approx(1.0, abs=1e-6)
    assert after.argsort().tolist() == before.argsort().tolist()
    assert torch.equal(after, reward(prompts, responses))
