"""From an agent to folders that transformers and peft read."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from agents import GRPO, PPO
from rlhf_env import load_task
from tests.agents.episodes import make_envs
from tests.agents.training.test_lora import TASKS, trained

IDS = torch.arange(12).reshape(2, 6)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(IDS).logits


@pytest.mark.parametrize("name", TASKS)
def test_a_trained_policy_is_an_ordinary_model_folder(name: str, tmp_path: Path) -> None:
    agent = PPO(make_envs(TASKS[name](), 8), learning_rate=0.01, episodes_per_update=8)
    agent.learn(8, progress=False)
    agent.export(tmp_path / "model")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    torch.testing.assert_close(logits(again), logits(agent.policy.model), atol=1e-5, rtol=0)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert tokenizer.get_vocab() == agent.base.task.tokenizer.get_vocab()


@pytest.mark.parametrize("name", TASKS)
def test_an_adapter_is_merged_into_the_model(name: str, tmp_path: Path) -> None:
    agent = trained(name)
    agent.export(tmp_path / "model")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    torch.testing.assert_close(logits(again), logits(agent.policy.model), atol=1e-5, rtol=0)


# Peft asks transformers by a name that it will drop.
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("name", TASKS)
def test_peft_reads_the_adapter_alone(name: str, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    agent = trained(name)
    agent.export(tmp_path / "adapter", adapter=True)
    base = TASKS[name]().reference
    expected, before = logits(agent.policy.model), logits(base)
    assert (expected - before).abs().max() > 1e-3
    loaded = peft.PeftModel.from_pretrained(base, tmp_path / "adapter")
    torch.testing.assert_close(logits(loaded), expected, atol=1e-5, rtol=0)


def own_greedy(agent: Any, prompt: list[int], count: int) -> tuple[list[int], list[float]]:
    """What the agent's own policy says greedily, and how likely, until it ends."""
    tokens, logprobs = list(prompt), []
    for _ in range(count):
        ids = torch.tensor([tokens])
        said = agent.token_probabilities(ids, torch.tensor([len(tokens)]))[0].log()
        tokens.append(int(said.argmax()))
        logprobs.append(float(said.max()))
        if tokens[-1] == agent.base.task.eos_id:
            break
    return tokens[len(prompt) :], logprobs


def theirs_greedy(model: Any, prompt: list[int]) -> tuple[list[int], list[float]]:
    ids = torch.tensor([prompt])
    found = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        temperature=1.0,
        return_dict_in_generate=True,
        output_logits=True,
    )
    tokens = found.sequences[0, len(prompt) :].tolist()
    steps = zip(found.logits, tokens, strict=True)
    return tokens, [float(logits[0].log_softmax(-1)[token]) for logits, token in steps]


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("form", ["full", "merged", "adapter"])
@pytest.mark.parametrize("name", TASKS)
def test_generate_says_greedily_what_the_agent_says(name: str, form: str, tmp_path: Path) -> None:
    """The same tokens, and their log-probabilities to 1e-5."""
    if form == "full":
        agent: Any = PPO(make_envs(TASKS[name](), 8), learning_rate=0.01, episodes_per_update=8)
        agent.learn(8, progress=False)
    else:
        agent = trained(name)
    agent.export(tmp_path / "out", adapter=form == "adapter")
    model: Any
    if form == "adapter":
        peft = pytest.importorskip("peft")
        model = peft.PeftModel.from_pretrained(TASKS[name]().reference, tmp_path / "out")
        model.generation_config = GenerationConfig.from_pretrained(tmp_path / "out")
    else:
        model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    task = agent.base.task
    for prompt in task.prompts:
        ours, theirs = (
            own_greedy(agent, prompt.tolist(), task.max_new_tokens),
            theirs_greedy(model.eval(), prompt.tolist()),
        )
        assert theirs[0] == ours[0]
        assert theirs[1] == pytest.approx(ours[1], abs=1e-5)


def test_a_table_keeps_its_log_probabilities(tmp_path: Path) -> None:
    """The class that this package registers is read without code from the folder."""
    agent = GRPO(make_envs(load_task("toy15"), 8), episodes_per_update=8, learning_rate=0.05)
    agent.learn(8, progress=False)
    agent.export(tmp_path / "model")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    rollout = agent.collect()
    with torch.no_grad():
        said = again(rollout.tokens).logits[:, :-1].log_softmax(-1)
    chosen = said.gather(2, rollout.tokens[:, 1:, None])[..., 0]
    is_action = rollout.is_action[:, 1:]
    ours = rollout.logprobs[:, 1:][is_action]
    torch.testing.assert_close(chosen[is_action], ours, atol=1e-5, rtol=0)
    assert not list((tmp_path / "model").glob("*.py"))


def test_the_folder_says_how_to_draw_and_what_it_is(tmp_path: Path) -> None:
    task = dataclasses.replace(TASKS["llama"](), name="a `task` <b>|x|</b>")
    agent = GRPO(make_envs(task, 8), episodes_per_update=8, temperature=0.7)
    agent.export(tmp_path / "model", figures={"score": 0.125, "gold": math.nan})
    drawn = GenerationConfig.from_pretrained(tmp_path / "model")
    assert (drawn.temperature, drawn.top_p, drawn.do_sample) == (0.7, 1.0, True)
    assert not drawn.top_k and drawn.max_new_tokens == task.max_new_tokens
    assert (drawn.eos_token_id, drawn.pad_token_id) == (task.eos_id, task.pad_id)
    card = (tmp_path / "model" / "README.md").read_text()
    assert "a \\`task\\` &lt;b&gt;\\|x\\|&lt;/b&gt;" in card and "<b>" not in card
    assert "| score | 0.125 |" in card and "gold" not in card
    assert '"temperature": 0.7' in card and "License: to be filled in" in card
    assert not list((tmp_path / "model").glob("*.bin"))


def test_the_weights_keep_their_type(tmp_path: Path) -> None:
    made = TASKS["llama"]()
    made.reference.to(torch.bfloat16)
    agent = GRPO(make_envs(made, 8, dtype=torch.bfloat16), episodes_per_update=8)
    agent.export(tmp_path / "model")
    kept = next(agent.policy.model.parameters()).dtype
    assert next(AutoModelForCausalLM.from_pretrained(tmp_path / "model").parameters()).dtype == kept


def test_what_cannot_be_exported_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = GRPO(make_envs(TASKS["llama"](), 8), episodes_per_update=8)
    with pytest.raises(ValueError, match="adapter=True needs an agent with an adapter"):
        agent.export(tmp_path / "a", adapter=True)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").touch()
    with pytest.raises(ValueError, match="folder must be new or empty"):
        agent.export(tmp_path / "taken")
    for nowhere in (tmp_path / "taken" / "mine.txt" / "a", Path("/proc/nowhere/a")):
        with pytest.raises(ValueError, match="folder must be one that can be made, got"):
            agent.export(nowhere)
    monkeypatch.setattr(agent.policy.model.config, "model_type", "unheard_of")
    with pytest.raises(ValueError, match="of a kind that transformers knows"):
        agent.export(tmp_path / "b")
    assert not (tmp_path / "a").exists() and not (tmp_path / "b").exists()
