"""The losses and gradients of TRL's trainers on one batch: GRPO in its four kinds, and RLOO.

TRL is not a dependency: `make test-all` installs it.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from agents import GRPO, GSPO, RLOO, Agent, DrGRPO
from agents.algorithm import Algorithm
from rlhf_env.engine.scoring import score_rollout
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from tests.agents.episodes import as_bandit, make_envs
from tests.toys import tiny_llama, tiny_llama_task, tiny_tokenizer

trl = pytest.importorskip("trl")
# TRL sets what transformers has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.gradient_checkpointing:FutureWarning")

HORIZON, PROMPT, KL_COEF = 8, 3, 0.04
LENGTHS = [8, 1, 5, 3, 8, 2, 7, 4]
SCORES = [1.0, 2.0, 3.0, 6.0, 0.5, 0.5, -1.0, 0.25]


def batch(task: Task) -> Rollout:
    """Two groups of four ragged responses, sampled by nobody, scored by hand."""
    generator = torch.Generator().manual_seed(0)
    width = PROMPT + HORIZON
    columns, lengths = torch.arange(width), torch.tensor(LENGTHS)
    is_action = (columns >= PROMPT) & (columns < PROMPT + lengths[:, None])
    tokens = torch.randint(2, 32, (8, width), generator=generator)
    tokens[:, :PROMPT] = tokens[::4, :PROMPT].repeat_interleave(4, dim=0)
    tokens[torch.arange(8), PROMPT + lengths - 1] = task.eos_id
    tokens = torch.where(columns < PROMPT + lengths[:, None], tokens, task.pad_id)
    nothing = torch.zeros(8, width)
    score = torch.tensor(SCORES)
    last = columns == PROMPT + lengths[:, None] - 1
    return Rollout(
        tokens=tokens,
        is_action=is_action,
        logprobs=nothing,
        ref_logprobs=nothing,
        rewards=last * score[:, None],
        reward_terms={"score": last * score[:, None], "kl": nothing},
        score=score,
        terminated=torch.ones(8, dtype=torch.bool),
        group=torch.arange(8) // 4,
        prompt_index=torch.zeros(8, dtype=torch.int64),
        decision=(columns - PROMPT).expand(8, width).masked_fill(~is_action, -1),
        kl_coef=torch.full((8,), KL_COEF),
    )


def described(agent: Agent, rollout: Rollout) -> Rollout:
    """Fill in what an earlier policy and the reference said."""
    earlier = type(agent.policy)(tiny_llama(seed=2), 32)
    old = earlier.evaluate_episodes(rollout.tokens, rollout.is_action).logprobs
    reference = score_rollout(agent.base.mdp.reference, rollout.tokens, rollout.is_action)
    # Near the present policy, so that some ratios are clipped and others are not.
    new = agent.policy.evaluate_episodes(rollout.tokens, rollout.is_action).logprobs
    return rollout.replace(logprobs=new + 0.2 * (old - new), ref_logprobs=reference)


def our_loss(agent: Agent, rollout: Rollout) -> tuple[float, Tensor, Tensor]:
    """The loss of the batch, its gradient, and the advantages."""
    algorithm: Algorithm = agent.learner.algorithm
    now = agent.policy.evaluate_episodes(rollout.tokens, rollout.is_action)
    old = dataclasses.replace(now, logprobs=rollout.logprobs)
    targets = algorithm.targets(rollout, old, agent.base.mdp.reference)
    new = agent.policy.evaluate_tokens(rollout.tokens, rollout.is_action)
    losses, _ = algorithm.loss(rollout, new, old, targets)
    agent.policy.zero_grad()
    losses.mean().backward()
    return losses.mean().item(), gradient(agent.policy.model), targets.advantages[:, 0]


def gradient(model: Any) -> Tensor:
    grads = [p.grad for p in model.parameters()]
    return torch.cat([g.flatten() for g in grads if g is not None])


def their_inputs(rollout: Rollout, advantages: Tensor) -> dict[str, Any]:
    completion = rollout.is_action[:, PROMPT:]
    return {
        "prompt_ids": rollout.tokens[:, :PROMPT],
        "prompt_mask": torch.ones(8, PROMPT, dtype=torch.int64),
        "completion_ids": rollout.tokens[:, PROMPT:],
        "completion_mask": completion.long(),
        "advantages": advantages,
        "old_per_token_logps": rollout.logprobs[:, PROMPT:],
        "old_logps": rollout.logprobs.sum(1),
        "ref_per_token_logps": rollout.ref_logprobs[:, PROMPT:],
        "num_items_in_batch": completion.sum(),
    }


def their_loss(
    kind: str, model: Any, inputs: dict[str, Any], folder: Path, **settings: Any
) -> tuple[float, Tensor]:
    from datasets import Dataset

    # Where there is a KL the trainer loads its reference from where the model came from.
    model.save_pretrained(folder / "model")
    model = type(model).from_pretrained(folder / "model")
    config = getattr(trl, f"{kind}Config")(
        output_dir=str(folder),
        per_device_train_batch_size=8,
        num_generations=4,
        max_completion_length=HORIZON,
        report_to="none",
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
        **settings,
    )
    trainer = getattr(trl, f"{kind}Trainer")(
        model=model,
        args=config,
        reward_funcs=lambda completions, **_: [0.0 for _ in completions],
        processing_class=tiny_tokenizer(),
        train_dataset=Dataset.from_dict({"prompt": ["w2 w3 w4"] * 8}),
    )
    trainer.model.eval()
    trainer.current_gradient_accumulation_steps = 1
    loss = trainer._compute_loss(trainer.model, inputs)
    trainer.model.zero_grad()
    loss.backward()
    return loss.item(), gradient(trainer.model)


GROUP_KINDS = [
    (GRPO, {"aggregation": "episode_mean"}, {"loss_type": "grpo"}),
    (GRPO, {}, {"loss_type": "bnpo"}),
    (GRPO, {"clip_range_high": 0.28}, {"loss_type": "dapo", "epsilon_high": 0.28}),
    (
        GRPO,
        {"clip_range": 0.02, "dual_clip": 1.05},
        {"loss_type": "bnpo", "epsilon": 0.02, "delta": 1.05},
    ),
    (DrGRPO, {}, {"loss_type": "dr_grpo", "scale_rewards": "none"}),
    (
        GSPO,
        {"clip_range": 0.2, "clip_range_high": 0.2},
        {"loss_type": "grpo", "importance_sampling_level": "sequence"},
    ),
]


@pytest.mark.parametrize(
    ("kind", "ours", "theirs"), GROUP_KINDS, ids=["grpo", "bnpo", "dapo", "dual", "dr_grpo", "gspo"]
)
@pytest.mark.parametrize("kl_coef", [0.0, KL_COEF])
def test_group_losses_and_gradients(
    kind: type[Agent], ours: dict[str, Any], theirs: dict[str, Any], kl_coef: float, tmp_path: Path
) -> None:
    task = tiny_llama_task(horizon=HORIZON)
    agent = kind(
        make_envs(task, 8),
        policy=tiny_llama(seed=1),
        group_size=4,
        episodes_per_update=8,
        epochs=2,
        kl_placement="loss",
        kl_estimator="k3",
        **ours,
    )
    rollout = described(agent, batch(task)).replace(kl_coef=torch.full((8,), kl_coef))
    loss, slope, advantages = our_loss(agent, rollout)
    inputs = their_inputs(rollout, advantages)
    expected, their_slope = their_loss(
        "GRPO",
        tiny_llama(seed=1),
        inputs,
        tmp_path,
        beta=kl_coef,
        # Its default multiplies the KL by the ratio of probabilities.
        use_bias_correction_kl=False,
        **theirs,
    )
    assert loss == pytest.approx(expected, abs=1e-5)
    assert torch.allclose(slope, their_slope, atol=1e-5)
    assert slope.norm() > 1e-3


def test_leave_one_out_loss_and_gradient(tmp_path: Path) -> None:
    """TRL's RLOO takes the ratio of whole responses, as the agent does on a bandit."""
    task = tiny_llama_task(horizon=HORIZON)
    agent = RLOO(
        make_envs(task, 8),
        policy=tiny_llama(seed=1),
        group_size=4,
        episodes_per_update=8,
        epochs=2,
        clip_range=0.2,
    )
    rollout = as_bandit(described(agent, batch(task)))
    loss, slope, advantages = our_loss(agent, rollout)
    expected = [-8 / 3, -4 / 3, 0.0, 4.0, 0.5833333, 0.5833333, -1.4166667, 0.25]
    assert advantages.tolist() == pytest.approx(expected, abs=1e-5)
    inputs = their_inputs(rollout, advantages)
    their, their_slope = their_loss("RLOO", tiny_llama(seed=1), inputs, tmp_path, beta=0.0)
    assert loss == pytest.approx(their, abs=1e-5)
    assert torch.allclose(slope, their_slope, atol=1e-4)
