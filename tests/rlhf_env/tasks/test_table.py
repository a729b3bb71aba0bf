from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlhf_env.exact.response_tree import num_responses, num_states
from rlhf_env.task import Task
from rlhf_env.tasks import table_task
from rlhf_env.tasks.table_lm import TableLM


def test_sizes_of_the_tree() -> None:
    assert (num_states(3, 3), num_responses(3, 3)) == (7, 15)
    assert (num_states(2, 4), num_responses(2, 4)) == (4, 5)
    assert (num_states(11, 5), num_responses(11, 5)) == (11111, 111111)


def test_states_are_numbered_level_by_level(toy15: Task) -> None:
    trunk = toy15.reference.base_model
    text = torch.tensor([[0, 1, 1, 9], [7, 1, 2, 9], [0, 2, 1, 9], [7, 2, 2, 9]])
    assert trunk.states(text)[:, :3].tolist() == [[0, 1, 3], [0, 1, 4], [0, 2, 5], [0, 2, 6]]
    hidden = trunk(input_ids=text[:1, :2]).last_hidden_state
    assert hidden.tolist() == [[[1, 0, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0, 0]]]


def test_whatever_follows_the_end_is_harmless(toy15: Task) -> None:
    text = torch.tensor([[0, 2, 0, 0, 0, 0, 0, 0], [0, 2, 2, 2, 2, 2, 2, 2]])
    logits = toy15.reference(input_ids=text).logits
    assert logits.shape == (2, 8, 3)
    assert torch.equal(logits[0, :2], logits[1, :2])
    assert logits.isfinite().all()


def test_packed_rows_give_the_logits_of_single_rows(toy15: Task) -> None:
    packed, positions = torch.tensor([[0, 1, 2, 0, 2, 0, 2, 1]]), [[0, 1, 2, 0, 1, 0, 1, 2]]
    found = toy15.reference(input_ids=packed, position_ids=torch.tensor(positions)).logits[0]
    rows = [torch.tensor([ids]) for ids in ([0, 1, 2], [0, 2], [0, 2, 1])]
    single = [toy15.reference(input_ids=ids).logits[0] for ids in rows]
    assert torch.equal(found, torch.cat(single))


def test_logits_are_the_head_of_the_trunk(toy15: Task) -> None:
    model, text = toy15.reference, torch.tensor([[0, 1, 2], [0, 2, 1]])
    assert isinstance(model, TableLM)
    hidden = model.base_model(input_ids=text).last_hidden_state
    logits = model(input_ids=text).logits
    assert torch.equal(model.get_output_embeddings()(hidden), logits)
    assert torch.equal(model(input_ids=text, logits_to_keep=1).logits, logits[:, -1:])
    kept = model(input_ids=text, logits_to_keep=torch.tensor([0, 2])).logits
    assert torch.equal(kept, logits[:, [0, 2]])


def test_an_adapter_on_the_table_is_used(toy15: Task) -> None:
    class Shifted(torch.nn.Module):
        def __init__(self, inner: torch.nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            return self.inner(hidden) + 1.0

    model, text = copy.deepcopy(toy15.reference), torch.tensor([[0, 1]])
    before = model(input_ids=text).logits
    model.lm_head = Shifted(model.lm_head)
    assert torch.equal(model(input_ids=text).logits, before + 1.0)


def test_a_copy_learns_alone(toy15: Task) -> None:
    policy = copy.deepcopy(toy15.reference).requires_grad_(True)
    before = toy15.reference.lm_head.weight.clone()
    optimizer = torch.optim.SGD(policy.parameters(), lr=1.0)
    policy(input_ids=torch.tensor([[0, 1]])).logits[0, -1, 2].backward()
    optimizer.step()
    change = policy.lm_head.weight.detach() - before
    assert change[2, 1].item() == pytest.approx(-1.0)
    assert change.count_nonzero().item() == 1
    assert torch.equal(toy15.reference.lm_head.weight, before)


def test_saving_and_loading_keeps_every_bit(toy15: Task, tmp_path: Path) -> None:
    toy15.reference.save_pretrained(tmp_path)
    toy15.tokenizer.save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.glob("*.safetensors")] == ["model.safetensors"]
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert isinstance(loaded, TableLM)
    assert torch.equal(loaded.lm_head.weight, toy15.reference.lm_head.weight)
    text = torch.tensor([[0, 2, 1]])
    assert torch.equal(loaded(text).logits, toy15.reference(text).logits)
    assert AutoTokenizer.from_pretrained(tmp_path)("1 2 </s>").input_ids == [1, 2, 0]


def test_tokenizer(toy15: Task) -> None:
    tokenizer = toy15.tokenizer
    assert (len(tokenizer), tokenizer.eos_token, tokenizer.eos_token_id) == (3, "</s>", 0)
    assert tokenizer("2 1").input_ids == [2, 1]
    assert toy15.decode(torch.tensor([2, 1, 0])) == "2 1"


def test_two_tokens_make_a_chain() -> None:
    task = table_task(2, 3, lambda prefix: [float(len(prefix)), 0.0], lambda tokens: len(tokens))
    logits = task.reference(input_ids=torch.tensor([[0, 1, 1, 1]])).logits[0, :3]
    assert logits.tolist() == [[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]]


def test_the_reward_is_computed_once_per_response() -> None:
    asked = []
    task = table_task(3, 2, lambda prefix: [0.0] * 3, lambda tokens: asked.append(tokens) or 1.0)
    responses = [torch.tensor([1, 0]), torch.tensor([1, 0])]
    for _ in range(3):
        assert task.reward([task.prompts[0]] * 2, responses).tolist() == [1.0, 1.0]
    assert asked == [(1, 0)]


@pytest.mark.parametrize(
    ("vocab_size", "horizon", "message"),
    [
        (1, 3, "vocab_size must be an integer of at least 2, got 1"),
        (3, 0, "horizon must be an integer of at least 1, got 0"),
        (3, 2.5, "horizon must be an integer of at least 1, got 2.5"),
        (101, 3, "give 1,010,101 responses, at most 1,000,000 can be enumerated"),
        (50257, 64, "about 1e301 responses"),
        (2, 10**9, "1,000,000,001 responses"),
    ],
)
def test_impossible_sizes_are_refused(vocab_size: int, horizon: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        table_task(vocab_size, horizon, lambda prefix: [0.0] * vocab_size, lambda tokens: 0.0)


@pytest.mark.parametrize("row", [[0.0, 1.0], [0.0, 1.0, float("nan")], [0.0, 1.0, float("inf")]])
def test_wrong_logits_are_refused(row: list[float]) -> None:
    with pytest.raises(ValueError, match=r"reference_logits\(\(\)\) must return 3 finite numbers"):
        table_task(3, 2, lambda prefix: row, lambda tokens: 0.0)
