"""Log-probabilities and model plumbing (traps A): shift, mask, cache, vocabulary."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest
import torch
from torch import Tensor

from agents import GRPO, PPO, Agent
from agents.policy import Policy
from rlhf_env.engine.engine import Engine
from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.engine.scoring import score_rollout
from rlhf_env.task import Task
from tests.agents.episodes import make_envs
from tests.rlhf_env.engine.test_engine import logits_of
from tests.toys import EOS, tiny_gpt2, tiny_gpt2_task, tiny_llama, tiny_llama_task
from tests.traps.scripted import play

V = 32


def successor_model() -> Any:
    """Predicts that token x is followed by (x + 1) mod 32, with certainty."""
    model = tiny_llama()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                parameter.zero_()
        model.get_input_embeddings().weight.copy_(torch.eye(V))
        model.lm_head.weight.copy_(10 * torch.eye(V).roll(1, dims=0))
    return model


def test_a_token_is_scored_by_the_logits_before_it() -> None:
    """Trap A7: one place off, and certainty becomes impossibility."""
    model = successor_model()
    tokens = torch.tensor([[0, 1, 2, 3]])
    is_action = torch.tensor([[False, True, True, True]])
    found = score_rollout(LanguageModel(model, V), tokens, is_action)
    assert found[0].tolist() == pytest.approx([0.0] * 4, abs=1e-4)
    assert Policy(model, V).evaluate_tokens(tokens, is_action).logprobs.tolist() == found.tolist()
    constant = score_rollout(LanguageModel(model, V), torch.tensor([[2, 2, 2, 2]]), is_action)
    assert (constant[0, 1:] < -50).all()
    task = Task(**{**vars(tiny_llama_task()), "reference": model})
    env = gym.make("RLHF-v0", task=task)
    env.reset(options={"prompt": [4]})
    told = [env.step(token)[4]["ref_logprob"] for token in (5, 6, 9)]
    assert told[:2] == pytest.approx([0.0, 0.0], abs=1e-4)
    assert told[2] < -50


@pytest.mark.parametrize("kind", [PPO, GRPO])
def test_three_tokens_have_three_places_in_the_loss(kind: type[Agent]) -> None:
    """Trap A8: gradient before each token of (7, 8, EOS), the EOS included, and nowhere else."""
    task = tiny_llama_task()
    agent = kind(make_envs(task, 2), policy=tiny_llama(seed=1), episodes_per_update=8)
    rollout = play(task, {(2, 3): [7, 8, EOS], (3, 4): [7, 8, 9, 9, EOS]})
    rollout = rollout.replace(group=torch.zeros(2, dtype=torch.int64))
    old = agent.policy.evaluate_episodes(rollout.tokens, rollout.is_action)
    targets = agent.learner.algorithm.targets(rollout, old, agent.base.mdp.reference)
    kept: list[Tensor] = []

    def keep(module: Any, arguments: Any, output: Any) -> None:
        output.last_hidden_state.retain_grad()
        kept.append(output.last_hidden_state)

    hook = agent.policy.model.base_model.register_forward_hook(keep)
    new = agent.policy.evaluate_tokens(rollout.tokens, rollout.is_action)
    hook.remove()
    losses, _ = agent.learner.algorithm.loss(rollout, new, old, targets)
    losses.sum().backward()
    assert kept[0].grad is not None
    # The texts stand one behind the other, the longest first.
    longer, shorter = (kept[0].grad.abs().sum(dim=2) > 0).int().flatten().split([7, 5])
    assert longer.tolist() == [0, 1, 1, 1, 1, 1, 0]
    assert shorter.tolist() == [0, 1, 1, 1, 0]


@pytest.mark.parametrize("build", [tiny_gpt2, tiny_llama])
def test_branches_of_one_prefix_do_not_meet(build: Any) -> None:
    """Trap A10: one prefill for two rows, which then go their own ways."""
    model = build()
    engine = Engine(model, V)
    prompt = [5, 6, 7, 8]
    tokens = torch.tensor([[*prompt, 0, 0, 0]] * 2)
    engine(tokens, torch.tensor([4, 4]))
    tokens[0, 4:], tokens[1, 4:] = torch.tensor([9, 10, 11]), torch.tensor([20, 21, 22])
    untouched = engine(tokens, torch.tensor([4, 5]))[1]
    for length in (5, 6, 7):
        lengths = torch.tensor([length, 5])
        found = engine(tokens, lengths)
        torch.testing.assert_close(found, logits_of(model, tokens, lengths), atol=1e-5, rtol=1e-5)
        assert torch.equal(found[1], untouched)


def test_ids_beyond_the_tokenizer_cannot_be_chosen() -> None:
    """Trap A18: a model of 36 logits under a tokenizer of 32, as policy and as reference."""
    wide = tiny_gpt2(vocab_size=36)
    task = Task(**{**vars(tiny_gpt2_task()), "reference": wide})
    envs = make_envs(task, 2)
    assert envs.single_action_space.n == 32
    assert envs.single_observation_space["input_ids"].high.max() == 31
    agent = PPO(envs, policy=tiny_gpt2(vocab_size=40, seed=1), episodes_per_update=8)
    probabilities = agent.token_probabilities(torch.tensor([[2, 3]]), torch.tensor([2]))
    assert probabilities.shape == (1, 32)
    assert probabilities.sum().item() == pytest.approx(1.0, abs=1e-12)
    env = gym.make("RLHF-v0", task=task).unwrapped
    env.reset(seed=0)
    told = torch.tensor([play_one(env, token) for token in range(32)], dtype=torch.float64)
    assert told.exp().sum().item() == pytest.approx(1.0, abs=1e-5)


def play_one(env: Any, token: int) -> float:
    env.reset(options={"prompt_index": 0})
    return env.step(token)[4]["ref_logprob"]


def test_a_policy_of_another_vocabulary_is_refused() -> None:
    """Trap A18: both sizes are named."""
    with pytest.raises(ValueError, match="20 logits, but the tokenizer has 32 tokens"):
        PPO(make_envs(tiny_llama_task()), policy=tiny_llama(vocab_size=20))


@pytest.mark.parametrize("option", ["min_new_tokens", "top_k", "top_p", "repetition_penalty"])
def test_nothing_can_bend_the_sampler_alone(option: str) -> None:
    """Trap A3: what changes sampling and not scoring does not exist, so KL cannot be farmed."""
    with pytest.raises(ValueError, match=f"RLHF-v0 has no option '{option}'"):
        gym.make("RLHF-v0", task="toy15", **{option: 1})
    if option in ("top_k", "top_p"):
        # They are scored too: with one token left its log-probability is 0, and the KL is whole.
        agent = PPO(make_envs(tiny_llama_task()), **{option: 1 if option == "top_k" else 1e-6})
        rollout = agent.collect()
        assert (rollout.logprobs == 0).all()
        assert (rollout.log_ratio[rollout.is_action] > 0).all()
        return
    with pytest.raises(ValueError, match=f"PPO has no setting '{option}'"):
        PPO(make_envs(tiny_llama_task()), **{option: 1})


@pytest.mark.parametrize("switch", ["the policy's", "the model's"])
def test_gradient_checkpointing_is_on_where_it_is_asked_for(switch: str) -> None:
    """Trap A19: `transformers` has it in training mode only, in which a policy never is."""
    model = tiny_llama()
    if switch == "the model's":
        for layer in model.model.layers:
            layer.gradient_checkpointing = True
    runs: list[int] = []
    model.model.layers[0].mlp.register_forward_pre_hook(lambda *_: runs.append(1))
    policy = Policy(model, V, gradient_checkpointing=switch == "the policy's")
    tokens = torch.arange(24).view(2, 12) % V
    is_action = torch.arange(12).expand(2, 12) >= 4
    del runs[:]
    policy.evaluate_episodes(tokens, is_action)
    assert len(runs) == 1 + 2  # the pass, and two that try whether texts can be packed
    policy.evaluate_tokens(tokens, is_action).logprobs.sum().backward()
    assert len(runs) == 3 + 2  # once more for the gradient


@pytest.mark.parametrize("count", [8, 4, 1])
def test_the_shape_of_a_batch_does_not_matter(count: int) -> None:
    """Trap A14: eight rows at once, in fours and one by one."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(2, V, (8, 12), generator=generator)
    is_action = torch.arange(12).expand(8, 12) >= 4
    lm = LanguageModel(tiny_gpt2(), V)
    parts = zip(tokens.split(count), is_action.split(count), strict=True)
    found = torch.cat([score_rollout(lm, *part) for part in parts])
    assert (found - score_rollout(lm, tokens, is_action)).abs().max() < 1e-5
