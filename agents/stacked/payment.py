"""What episodes of several runs are paid, each by the environment of its run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from agents.rollouts.collect import base_environment, pay
from rlhf_env.rollout import Rollout, join
from rlhf_env.tasks.automaton import AutomatonReward
from rlhf_env.tasks.table import TableReward
from rlhf_env.vector_env import RLHFVectorEnv

# Tasks with fewer sequences of V tokens are paid once for all.
_FEW_SEQUENCES = 4096

Envs = VectorEnv[Any, Any, Any]


class Cashier:
    """Pays episodes as one environment would, beta aside: each episode has its own.

    A task of few responses is paid for all of them once, and then looked up.
    """

    def __init__(self, envs: Envs, temperature: float) -> None:
        """Take the environment, and the temperature that divides the reference's logits."""
        self.envs = envs
        self.temperature = temperature
        self.terms: tuple[str, ...] = ()
        self.known = self._every_response() if _is_small(base_environment(envs)) else None

    def pay(self, episodes: Rollout, kl_coef: Tensor) -> Rollout:
        """Return episodes with all rewards.

        Args:
            episodes: nothing of them is paid yet.
            kl_coef: [B] beta of each.
        """
        if self.known is None:
            paid = self._paid(episodes)
        else:
            found = self.known.take(self._numbers(episodes))
            paid = found.replace(
                logprobs=episodes.logprobs,
                group=episodes.group,
                prompt_index=episodes.prompt_index,
            )
        self.terms = tuple(paid.reward_terms)
        # All were paid with beta = 1.
        paid = paid.with_term("kl", kl_coef[:, None] * paid.reward_terms["kl"])
        return paid.replace(kl_coef=kl_coef)

    def _paid(self, episodes: Rollout) -> Rollout:
        return pay(self.envs, episodes, kl_coef=1.0, temperature=self.temperature)

    def _every_response(self) -> Rollout:
        """Return what each sequence of T tokens up to its first EOS is paid, by its number."""
        base = base_environment(self.envs)
        task, horizon = base.task, base.mdp.max_new_tokens
        numbers = torch.arange(task.vocab_size**horizon, device=base.mdp.device)
        places = task.vocab_size ** torch.arange(horizon, device=numbers.device).flip(0)
        responses = numbers[:, None] // places % task.vocab_size
        prompt = task.prompts[0].to(numbers.device).expand(len(numbers), -1)
        tokens = torch.cat([prompt, responses], dim=1)
        nothing = torch.zeros_like(numbers)
        return self._paid(
            unpaid_episodes(
                tokens,
                torch.zeros(tokens.shape, device=tokens.device),
                prompt.shape[1],
                base,
                group=nothing,
                prompt_index=nothing,
            )
        )

    def _numbers(self, episodes: Rollout) -> Tensor:
        """Return the number of each response, [B]."""
        base = base_environment(self.envs)
        start = episodes.tokens.shape[1] - base.mdp.max_new_tokens
        responses = episodes.tokens[:, start:]
        responses = responses.masked_fill(~episodes.is_action[:, start:], base.task.eos_id)
        powers = torch.arange(responses.shape[1], device=responses.device).flip(0)
        return (responses * base.task.vocab_size**powers).sum(dim=1)


def unpaid_episodes(
    tokens: Tensor,
    logprobs: Tensor,
    start: int,
    base: RLHFVectorEnv,
    *,
    group: Tensor,
    prompt_index: Tensor,
) -> Rollout:
    """Return the record of sampled episodes, rewards and reference still 0.

    Args:
        tokens: [B, L] prompt and response; what follows an EOS is left out.
        logprobs: [B, L] of the tokens.
        start: how many tokens each prompt has.
        base: whose task ends responses by EOS.
        group: [B].
        prompt_index: [B].
    """
    columns = torch.arange(tokens.shape[1], device=tokens.device)
    is_eos = (tokens == base.task.eos_id) & (columns >= start)
    is_action = (columns >= start) & (is_eos.cumsum(dim=1) - is_eos.long() == 0)
    zeros = torch.zeros_like(logprobs)
    return Rollout(
        tokens=torch.where(is_action | (columns < start), tokens, base.task.pad_id),
        is_action=is_action,
        logprobs=torch.where(is_action, logprobs, 0.0),
        ref_logprobs=zeros,
        rewards=zeros,
        reward_terms={"score": zeros, "kl": zeros},
        score=zeros[:, 0],
        terminated=torch.ones_like(is_action[:, 0]),
        group=group,
        prompt_index=prompt_index,
        decision=(columns - start).expand(tokens.shape).masked_fill(~is_action, -1),
    )


def pay_all(
    episodes: Rollout, cashiers: Sequence[Cashier], kl_coefs: Sequence[float], pad_id: int
) -> Rollout:
    """Return the episodes of R runs, each paid by its run's environment, in one go per environment.

    Args:
        episodes: R blocks of rows of one size.
        cashiers: R of them; runs may share one.
        kl_coefs: beta of each run.
        pad_id: fills tokens.
    """
    size = len(episodes) // len(cashiers)
    coefs = torch.tensor(kl_coefs, dtype=episodes.rewards.dtype, device=episodes.tokens.device)
    coefs = coefs.repeat_interleave(size)
    runs = torch.arange(len(cashiers), device=coefs.device).repeat_interleave(size)
    parts, taken = [], []
    for cashier in dict.fromkeys(cashiers):
        own = [run for run, each in enumerate(cashiers) if each is cashier]
        rows = torch.isin(runs, torch.tensor(own, device=runs.device)).nonzero().flatten()
        parts.append(cashier.pay(episodes.take(rows), coefs[rows]))
        taken.append(rows)
    order = torch.cat(taken).argsort()
    paid = parts[0] if len(parts) == 1 else _joined(parts, pad_id)
    return paid.take(order).replace(group=episodes.group)


def _joined(parts: Sequence[Rollout], pad_id: int) -> Rollout:
    """Return the episodes of all parts; a reward term that a part lacks is 0 there."""
    names = dict.fromkeys(name for part in parts for name in part.reward_terms)
    whole = [
        part.replace(
            reward_terms={
                name: part.reward_terms.get(name, torch.zeros_like(part.rewards)) for name in names
            }
        )
        for part in parts
    ]
    return join(whole, pad_id)


def _is_small(base: RLHFVectorEnv) -> bool:
    """Return whether all sequences of a task can be paid at once."""
    task = base.task
    is_plain = isinstance(task.reward, TableReward | AutomatonReward)
    if not is_plain or len(task.prompts) != 1 or len(task.eval_prompts) != 1:
        return False
    if not torch.equal(task.prompts[0], task.eval_prompts[0]):
        return False
    horizon = base.mdp.max_new_tokens
    return horizon <= 12 and task.vocab_size**horizon <= _FEW_SEQUENCES
