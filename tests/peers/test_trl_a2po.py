"""Loss and gradient of TRL's A*-PO on one batch of responses of several lengths.

Theirs are `A2POTrainer.compute_loss` on padded ids; ours those of `AStarPO` on the same model, with
the values of the prompts given. TRL is not a dependency: `make test-all` installs it.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from agents.off_policy.a_star_po import AStarPO, AStarPOAlgorithm
from tests.agents.episodes import make_envs
from tests.agents.off_policy.optimum import loss_and_slope
from tests.agents.preference.preference_runs import gradient
from tests.toys import tiny_llama, tiny_llama_task

pytest.importorskip("trl")
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*trl.experimental"),
]

BETA = 0.5


def test_loss_and_gradient_are_trls() -> None:
    from trl.experimental.a2po import A2POTrainer

    task = tiny_llama_task()
    policy = tiny_llama(seed=1)
    agent = AStarPO(make_envs(task, 8, kl_coef=BETA), policy=policy, episodes_per_update=8)
    rollout = agent.collect()
    # One prompt length, as TRL pads prompts on the left.
    rollout = rollout.take((rollout.prompt_lengths == 2).nonzero().flatten())
    assert len(rollout) > 1
    values = torch.linspace(-0.5, 0.5, len(rollout))
    agent.learner.algorithm = AStarPOAlgorithm(agent.config, lambda rows: values[:, None])

    ours = gradient(agent, rollout)[: sum(p.numel() for p in policy.parameters())]
    model: Any = copy.deepcopy(policy)
    model.zero_grad(set_to_none=True)
    trainer: Any = object.__new__(A2POTrainer)
    trainer.args = SimpleNamespace(beta2=BETA)
    trainer.model, trainer.model_kwarg_keys = model, {"logits_to_keep"}
    trainer._metrics = {name: defaultdict(list) for name in ("train", "eval")}
    width = rollout.tokens.shape[1]
    inputs = {
        "input_ids": rollout.tokens,
        "attention_mask": (torch.arange(width) < rollout.lengths[:, None]).long(),
        "logits_to_keep": width - 2,
        "ref_logps": rollout.ref_logprobs.sum(dim=1),
        "rewards": rollout.score,
        "v_star": values,
    }
    loss = trainer.compute_loss(model, inputs)
    loss.backward()
    theirs = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    assert loss_and_slope(agent, rollout)[0] == pytest.approx(float(loss.detach()), rel=1e-5)
    assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4)
