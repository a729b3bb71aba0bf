"""Training reward models: the exact optimum on a toy, and what every trained reward must be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from rlhf_env.rewards import (
    Comparison,
    Ensemble,
    LossSettings,
    MarkedResponse,
    PreferenceData,
    Ranking,
    Rating,
    RewardSettings,
    RewardTraining,
    Span,
    Thumb,
    TrainedReward,
    load_reward,
    save_reward,
    train,
)
from rlhf_env.rewards.training.elements import Element
from rlhf_env.rewards.training.fit import evaluate, fit
from rlhf_env.rewards.training.pair_objectives import PairObjective, PairTarget
from rlhf_env.task import Task
from tests.rlhf_env.toy15_tables import ACTIONS, SCORES, action_logprobs
from tests.toys import tiny_llama, tiny_llama_task, tiny_tokenizer

SETTINGS = RewardSettings(
    epochs=12, batch_size=12, learning_rate=1e-2, evaluations_per_epoch=1, device="cpu"
)
WORDS = [f"w{number}" for number in range(7, 31)]


class TableScores(nn.Module):
    """A score for every sequence of at most three tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(64, dtype=torch.float64))

    def scores(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        codes = torch.zeros_like(input_ids)
        for place in range(input_ids.shape[1]):
            codes[:, place] = codes[:, place - 1] * 4 + input_ids[:, place] + 1
        return self.table[codes % 64]


def toy15_pairs(task: Task) -> Element[PairTarget]:
    """All pairs of different responses, weighted by how often they are drawn and how labeled."""
    probabilities = action_logprobs(task.reference).sum(dim=1).exp()
    first, second = torch.triu_indices(15, 15, offset=1)
    drawn = 2 * probabilities[first] * probabilities[second]
    assert drawn.sum().item() == pytest.approx(0.702112, abs=1e-6)
    wins = drawn * torch.sigmoid(SCORES[first] - SCORES[second])
    votes = torch.stack([wins, torch.zeros(105), drawn - wins], dim=-1)
    empty = torch.zeros(0, dtype=torch.int64)
    target = PairTarget(first=first, second=second, votes=votes, margins=torch.zeros(105))
    return Element(
        prompts=(empty,) * 15, responses=tuple(row[row >= 0] for row in ACTIONS), target=target
    )


def test_the_exact_optimum_of_toy15(toy15: Task) -> None:
    """Reference 1.7: least expected loss 0.511483 with accuracy 0.758496, at r + constant."""
    element, model = toy15_pairs(toy15), TableScores()
    settings = RewardSettings(epochs=200, learning_rate=0.1, weight_decay=0.0, patience=200)
    history = fit(model, PairObjective(), [element], [element], settings, torch.Generator())
    assert history.train_losses[0] == pytest.approx(0.693147, abs=1e-6)
    assert history.best.loss == pytest.approx(0.511483, abs=1e-6)
    assert history.best.accuracy == pytest.approx(0.758496, abs=1e-6)
    with torch.no_grad():
        texts = nn.utils.rnn.pad_sequence(list(element.responses), batch_first=True)
        last = torch.tensor([len(ids) - 1 for ids in element.responses])
        learned = model.scores(texts, torch.ones_like(texts))[torch.arange(15), last]
    errors = learned - SCORES
    assert (errors - errors.mean()).abs().max() < 0.02


def pairs(count: int = 48, *, swapped: bool = False) -> PreferenceData:
    """Responses with w5 are preferred to those with w6, on as many different prompts."""
    sides = [("w5 w5", "w6"), ("w5", "w6 w6")]
    records = [
        Comparison(
            prompt=f"{WORDS[i % 23]} {WORDS[i // 23]}",
            chosen=sides[i % 2][1 if swapped else 0],
            rejected=sides[i % 2][0 if swapped else 1],
        )
        for i in range(count)
    ]
    return PreferenceData(records=tuple(records), kind="comparisons")


def trained(data: PreferenceData, **options: Any) -> RewardTraining:
    return train(
        tiny_llama(), data, tokenizer=tiny_tokenizer(), **{"settings": SETTINGS, **options}
    )


@pytest.fixture(scope="module")
def on_pairs() -> RewardTraining:
    return trained(pairs())


def data_of(kind: str) -> PreferenceData:
    made: dict[str, Any] = {
        "rankings": lambda prompt, i: Ranking(
            prompt=prompt, responses=("w6", "w5", "w5 w5"), ranks=(3, 2, 1)
        ),
        "ratings": lambda prompt, i: Rating(
            prompt=prompt, response=("w5", "w6", "w9")[i % 3], rating=(5.0, 1.0, 3.0)[i % 3]
        ),
        "thumbs": lambda prompt, i: Thumb(
            prompt=prompt, response=("w5", "w6")[i % 2], is_good=i % 2 == 0
        ),
        "spans": lambda prompt, i: MarkedResponse(
            prompt=prompt, response="w5 w6 w9", spans=(Span(start=3, end=5),)
        ),
    }
    prompts = [record.prompt for record in pairs().records]
    records = tuple(made[kind](prompt, i) for i, prompt in enumerate(prompts))
    return PreferenceData(records=records, kind=kind)


@pytest.mark.parametrize(
    ("kind", "losses"),
    [
        ("comparisons", LossSettings(centering_coef=0.01)),
        ("comparisons", LossSettings(tie_strength=0.5)),
        ("rankings", LossSettings()),
        ("rankings", LossSettings(rankings="plackett_luce")),
        ("ratings", LossSettings()),
        ("ratings", LossSettings(ratings="ordinal")),
        ("thumbs", LossSettings()),
        ("spans", LossSettings()),
    ],
)
def test_every_kind_of_data_is_learned(kind: str, losses: LossSettings) -> None:
    data = pairs() if kind == "comparisons" else data_of(kind)
    result = trained(data, losses=losses)
    assert (result.histories[0].best.accuracy or 0.0) > 0.8
    better, worse = result.score(["w10 w12"] * 2, ["w5", "w6"])
    assert better > worse + 0.5
    if kind == "ratings" and losses.ratings == "squared":
        assert [better, worse] == pytest.approx([5.0, 1.0], abs=0.9)


def test_marked_tokens_give_a_log_probability_that_falls_where_they_stand() -> None:
    reward = trained(data_of("spans")).members[0]
    (row,) = reward.prefix_scores([torch.tensor([10, 12])], [torch.tensor([5, 6, 9, 1])])
    (steps,) = reward.token_scores([torch.tensor([10, 12])], [torch.tensor([5, 6, 9, 1])])
    assert row[0] == 0.0 and row[-1] == pytest.approx(steps.sum().item())
    assert (steps <= 0).all() and steps.argmin() == 1
    with pytest.raises(ValueError, match="has a scale"):
        reward.normalize([torch.tensor([10])], [torch.tensor([5])])


def test_the_model_that_is_given_stays_as_it_is() -> None:
    model = tiny_llama()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    train(model, pairs(), tokenizer=tiny_tokenizer(), settings=SETTINGS)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def weights(result: RewardTraining) -> list[list[Tensor]]:
    return [list(member.model.parameters()) for member in result.members]


def test_a_seed_decides_every_bit(on_pairs: RewardTraining) -> None:
    (again,), (first,) = weights(trained(pairs())), weights(on_pairs)
    assert all(map(torch.equal, first, again))
    other = RewardSettings(**{**vars(SETTINGS), "seed": 1})
    (different,) = weights(trained(pairs(), settings=other))
    assert not any(map(torch.equal, first, different))


def test_members_of_an_ensemble_differ(on_pairs: RewardTraining) -> None:
    """Trap F15."""
    settings = RewardSettings(**{**vars(SETTINGS), "members": 2})
    result = trained(pairs(), settings=settings)
    assert isinstance(result.reward, Ensemble)
    first, second = weights(result)
    assert all(map(torch.equal, first, weights(on_pairs)[0]))
    assert not any(map(torch.equal, first, second))
    generator = torch.Generator().manual_seed(0)
    random = [torch.randint(2, 32, (6,), generator=generator) for _ in range(4)]
    assert (result.reward.disagreement(random, random) > 0).all()
    one, two = (member.score_texts(["w7"], ["w8"]).item() for member in result.members)
    assert result.score(["w7"], ["w8"]) == pytest.approx([(one + two) / 2])


def test_the_best_weights_are_kept_and_training_stops(toy15: Task) -> None:
    element, model = toy15_pairs(toy15), TableScores()
    backwards = PairTarget(
        first=element.target.second,
        second=element.target.first,
        votes=element.target.votes,
        margins=element.target.margins,
    )
    held_out = Element(prompts=element.prompts, responses=element.responses, target=backwards)
    settings = RewardSettings(epochs=50, learning_rate=0.1, patience=3)
    history = fit(model, PairObjective(), [element], [held_out], settings, torch.Generator())
    # Every step away from 0 is for the worse, so the first evaluation is the best.
    assert [e.step for e in history.evaluations] == [1, 2, 3, 4]
    assert evaluate(model, PairObjective(), [held_out], 1).loss == history.best.loss
    assert history.best is history.evaluations[0]


def test_identical_sides_cost_ln_2_and_take_no_side() -> None:
    """Trap F12."""
    ids = (torch.tensor([1]),)
    target = PairTarget(
        first=torch.tensor([0]),
        second=torch.tensor([0]),
        votes=torch.tensor([[1.0, 0.0, 0.0]]),
        margins=torch.zeros(1),
    )
    element = Element(prompts=ids, responses=ids, target=target)
    found = evaluate(TableScores(), PairObjective(), [element], 1)
    assert found.loss == pytest.approx(0.693147, abs=1e-6)
    assert found.accuracy is None


def test_all_pairs_of_a_prompt_are_one_element() -> None:
    """Trap F11: scores 2, 1, 0, −1 cost 0.207038, the mean over six pairs."""
    model = TableScores()
    with torch.no_grad():
        model.table[[6, 7, 8, 9]] = torch.tensor([2.0, 1.0, 0.0, -1.0], dtype=torch.float64)
    first, second = torch.triu_indices(4, 4, offset=1)
    votes = torch.tensor([[1.0, 0.0, 0.0]]).repeat(6, 1)
    target = PairTarget(first=first, second=second, votes=votes, margins=torch.zeros(6))
    prompt = torch.tensor([0])
    ranked = Element(
        prompts=(prompt,) * 4,
        responses=tuple(torch.tensor([i]) for i in (1, 2, 3, 4)),
        target=target,
    )
    found = evaluate(model, PairObjective(), [ranked], 1)
    assert found.loss == pytest.approx(0.207038, abs=1e-6)
    assert found.agreement.total == 6.0


class TestSaving:
    def test_what_is_loaded_scores_the_same(self, on_pairs: RewardTraining, tmp_path: Path) -> None:
        on_pairs.save(tmp_path / "reward")
        assert not list(tmp_path.rglob("*.bin")) and len(list(tmp_path.iterdir())) == 1
        loaded = load_reward(tmp_path / "reward")
        assert isinstance(loaded, TrainedReward)
        texts = (["w7", "w8 w9"], ["w5", "w6 w6"])
        assert torch.equal(loaded.score_texts(*texts), on_pairs.members[0].score_texts(*texts))
        assert "head.weight" in load_file(tmp_path / "reward/model.safetensors")

    def test_an_ensemble_keeps_its_rule(self, on_pairs: RewardTraining, tmp_path: Path) -> None:
        ensemble = Ensemble(on_pairs.members * 2, rule="uncertainty", coef=0.25)
        save_reward(ensemble, tmp_path / "reward")
        loaded = load_reward(tmp_path / "reward")
        assert isinstance(loaded, Ensemble)
        assert (loaded.rule, loaded.coef, len(loaded.members)) == ("uncertainty", 0.25, 2)

    def test_nothing_is_written_over(self, on_pairs: RewardTraining, tmp_path: Path) -> None:
        (tmp_path / "mine").write_text("precious")
        with pytest.raises(ValueError, match="folder must be new or empty"):
            on_pairs.save(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["mine"]

    @pytest.mark.parametrize("damage", ["missing", "header", "weights"])
    def test_damage_is_told(self, on_pairs: RewardTraining, tmp_path: Path, damage: str) -> None:
        folder = tmp_path / "reward"
        on_pairs.save(folder)
        if damage == "missing":
            folder = tmp_path / "other"
        if damage == "header":
            (folder / "reward.json").write_text(json.dumps({"format": "other/1"}))
        if damage == "weights":
            (folder / "model.safetensors").write_bytes(b"x" * 20)
        with pytest.raises(ValueError, match="must be a folder that save_reward"):
            load_reward(folder)


def test_it_is_a_reward_of_a_task(on_pairs: RewardTraining) -> None:
    task = tiny_llama_task()
    reward = on_pairs.members[0]
    assert reward.with_tokenizer(task.tokenizer) is reward
    prompts, responses = [torch.tensor([2]), torch.tensor([3, 2])], [torch.tensor([5, 1])] * 2
    rows = reward.prefix_scores(prompts, responses)
    assert [len(row) for row in rows] == [3, 3]
    assert reward(prompts, responses).tolist() == [row[-1].item() for row in rows]
    # A policy with its words in another order is read as text, the end token added again.
    other = reward.with_tokenizer(tiny_tokenizer(40))
    assert other(prompts, responses).tolist() == pytest.approx(
        reward(prompts, responses).tolist(), abs=1e-5
    )


def test_scores_can_be_put_on_a_scale(on_pairs: RewardTraining) -> None:
    """Trap F13."""
    reward = trained(pairs()).members[0]
    prompts = [torch.tensor([2, 3])] * 6
    responses = [torch.tensor([number, 1]) for number in range(4, 10)]
    before = reward(prompts, responses)
    reward.normalize(prompts, responses)
    after = reward(prompts, responses)
    assert after.mean().item() == pytest.approx(0.0, abs=1e-6)
    assert after.std(correction=0).item() == pytest.approx(1.0, abs=1e-6)
    assert after.argsort().tolist() == before.argsort().tolist()


def test_longer_texts_than_trained_on_are_refused(on_pairs: RewardTraining) -> None:
    """Trap F14."""
    with pytest.raises(ValueError, match="at most 128 tokens, as the reward model was made for"):
        on_pairs.members[0].score_texts(["w7"], ["w8 " * 128])


def test_long_rows_are_left_out_and_counted() -> None:
    long = Comparison(prompt="w7 w7 w7", chosen="w5 " * 9, rejected="w6")
    data = PreferenceData(records=(*pairs().records, long), kind="comparisons")
    settings = RewardSettings(**{**vars(SETTINGS), "epochs": 1, "max_tokens": 8})
    with pytest.warns(UserWarning, match="1 of 4. records left out for more than 8 tokens"):
        result = trained(data, settings=settings)
    assert long not in result.train.records + result.held_out.records
    with pytest.raises(ValueError, match=r"max_tokens must leave some of the data, got 2 where"):
        trained(pairs(), settings=RewardSettings(max_tokens=2))
    with pytest.raises(ValueError, match="max_tokens must be at most the model's window of 128"):
        trained(pairs(), settings=RewardSettings(max_tokens=129))


def likes_w5(prompts: list[str], responses: list[str]) -> list[float]:
    return [float("w5" in text) for text in responses]


def test_swapped_columns_are_suspected_by_a_reference() -> None:
    settings = RewardSettings(**{**vars(SETTINGS), "epochs": 1})
    with pytest.warns(UserWarning, match=r"only 0 of \d+ pairs.*may be swapped"):
        result = trained(pairs(swapped=True), reference=likes_w5, settings=settings)
    assert "may be swapped" in result.notes[-1]
    assert trained(pairs(), reference=likes_w5, settings=settings).notes == ()


def test_held_out_data_the_other_way_round_are_suspected() -> None:
    data = pairs(24)
    held_out = PreferenceData(records=pairs(swapped=True).records[24:], kind="comparisons")
    with pytest.warns(UserWarning, match=r"on held-out data, what was learned .* may be swapped"):
        trained(data, held_out=held_out)


def test_no_prompt_is_on_both_sides(on_pairs: RewardTraining) -> None:
    """Trap F17."""
    train_prompts = {record.prompt for record in on_pairs.train.records}
    held_out_prompts = {record.prompt for record in on_pairs.held_out.records}
    assert len(train_prompts) + len(held_out_prompts) == 48
    assert not train_prompts & held_out_prompts


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs must be an integer >= 1, got 0"),
        ({"members": 1.5}, "members must be"),
        ({"learning_rate": 0.0}, "learning_rate must be a finite number greater than 0"),
        ({"warmup_share": 1.5}, "warmup_share must be a number in"),
        ({"seed": -1}, "seed must be"),
        ({"max_tokens": 1}, "max_tokens must be"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RewardSettings(**settings)


@pytest.mark.parametrize(
    ("data", "losses", "message"),
    [
        (
            [Rating(prompt=f"w{i}", response="w5", rating=1.0) for i in range(60)],
            LossSettings(),
            "ratings must differ, got 1 for all",
        ),
        (
            [Rating(prompt=f"w{i}", response="w5", rating=i) for i in range(60)],
            LossSettings(ratings="ordinal"),
            "at most 20 levels",
        ),
        (
            [Thumb(prompt=f"w{i}", response="w5", is_good=True) for i in range(60)],
            LossSettings(),
            "thumbs must point both ways",
        ),
        (
            [Comparison(prompt=f"w{i}", chosen="w5", rejected="w5") for i in range(60)],
            LossSettings(),
            "two different responses somewhere",
        ),
        (
            [Comparison(prompt=f"w{i}", chosen="w5", rejected="w6", margin=1) for i in range(60)],
            LossSettings(tie_strength=1.0),
            "tie_strength must be left out where pairs have margins",
        ),
    ],
)
def test_data_that_cannot_be_learned_from(
    data: list[Any], losses: LossSettings, message: str
) -> None:
    kinds = {Rating: "ratings", Thumb: "thumbs", Comparison: "comparisons"}
    with pytest.raises(ValueError, match=message):
        train(
            "no-such/model",
            PreferenceData(records=tuple(data), kind=kinds[type(data[0])]),
            losses=losses,
        )


def test_a_loss_that_explodes_is_told(toy15: Task) -> None:
    element, model = toy15_pairs(toy15), TableScores()
    with torch.no_grad():
        model.table.fill_(float("nan"))
    with pytest.raises(ValueError, match="learning_rate must keep the loss finite, got nan at"):
        fit(model, PairObjective(), [element], [element], RewardSettings(), torch.Generator())


def test_a_tokenizer_goes_with_a_model() -> None:
    with pytest.raises(ValueError, match="tokenizer must be given with a model itself"):
        train(tiny_llama(), pairs())
