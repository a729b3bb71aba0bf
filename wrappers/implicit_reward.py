"""The reward that a policy implies, token by token."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import gymnasium as gym
import torch
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from rlhf_env.checks import check_positive
from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.engine.scoring import score_rollout
from wrappers.every_k import score_differences
from wrappers.reward_terms.density import Density, ScoredPrefixes
from wrappers.reward_terms.density_wrapper import DensityWrapper, VectorDensityWrapper
from wrappers.reward_terms.prefix_scores import StateScorer
from wrappers.reward_terms.reward_term import Responses
from wrappers.stack.order import VIEW, check_order, wrapper_name


class ImplicitReward(DensityWrapper, RecordConstructorArgs):
    """Pay each token beta · log pi(a|s) / pi_ref(a|s) of a policy, such as one trained by DPO.

    If pi is the optimum for the score and this beta, a token earns Q*(s, a) − V*(s)
    (arXiv:2404.12358). Then, with ``keep_total=False`` and the KL coefficient beta, every state has
    the value 0, and the optimum is pi for *every* discount. With ``keep_total`` the last token
    earns what is missing to the score, so that a response is paid its score in all, and an
    imperfect pi leaves the undiscounted optimum where it is.

    `agents.credit.implicit` does the same in hindsight, with the rest in equal shares.

    Example:
        >>> import copy, gymnasium as gym, torch, rlhf_env
        >>> from wrappers import ImplicitReward
        >>> task = rlhf_env.load_task("toy15")
        >>> policy = copy.deepcopy(task.reference)
        >>> with torch.no_grad():
        ...     _ = policy.lm_head.weight[1].add_(1.0)  # token 1 is e times as likely, then scaled
        >>> env = ImplicitReward(gym.make("RLHF-v0", task=task, kl_coef=0.0), policy, beta=0.5)
        >>> _ = env.reset(seed=0)
        >>> [round(float(env.step(token)[1]), 3) for token in (1, 2, 0)]
        [0.414, -0.333, 0.669]
    """

    def __init__(
        self, env: gym.Env[Any, Any], policy: nn.Module, beta: float, keep_total: bool = True
    ) -> None:
        """Wrap an environment.

        Args:
            env: an ``RLHF-v0`` whose steps are single tokens.
            policy: pi, a causal language model with the task's vocabulary, such as an agent's
                ``policy.model``; copied, so that training it on changes nothing here.
            beta: the coefficient that pi was trained with, > 0.
            keep_total: whether the last token earns what is missing to the score.

        Raises:
            ValueError: if beta is not positive, the model cannot be used, or the order of wrappers
                makes no sense.
        """
        density, states = implicit_reward(self, env, policy, beta, keep_total)
        RecordConstructorArgs.__init__(
            self, _disable_deepcopy=True, policy=policy, beta=beta, keep_total=keep_total
        )
        super().__init__(env, density, states=states)


class VectorImplicitReward(VectorDensityWrapper, RecordConstructorArgs):
    """Vector version of `ImplicitReward`: the tokens of N rows in one pass.

    Example:
        >>> import gymnasium as gym, numpy as np, rlhf_env
        >>> from wrappers.vector import ImplicitReward
        >>> task = rlhf_env.load_task("toy15")
        >>> envs = gym.make_vec("RLHF-v0", num_envs=2, task=task, kl_coef=0.0)
        >>> envs = ImplicitReward(envs, task.reference, beta=0.5)
        >>> _ = envs.reset(seed=0)
        >>> [envs.step(np.array(tokens))[1].tolist() for tokens in ([1, 2], [0, 0])]
        [[0.0, 0.0], [1.25, -0.25]]
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        policy: nn.Module,
        beta: float,
        keep_total: bool = True,
    ) -> None:
        """Wrap a vector environment.

        Args:
            env: ``gym.make_vec("RLHF-v0")`` whose steps are single tokens.
            policy: pi, a causal language model with the task's vocabulary, such as an agent's
                ``policy.model``; copied, so that training it on changes nothing here.
            beta: the coefficient that pi was trained with, > 0.
            keep_total: whether the last token earns what is missing to the score.

        Raises:
            ValueError: if beta is not positive, the model cannot be used, or the order of wrappers
                makes no sense.
        """
        density, states = implicit_reward(self, env, policy, beta, keep_total)
        RecordConstructorArgs.__init__(
            self, _disable_deepcopy=True, policy=policy, beta=beta, keep_total=keep_total
        )
        super().__init__(env, density, states=states)


def implicit_reward(
    wrapper: Any, env: Any, policy: nn.Module, beta: float, keep_total: bool
) -> tuple[Density, StateScorer]:
    """Return the density around ``env``, and the function that scores its states.

    Raises:
        ValueError: as the wrapper.
    """
    check_positive("beta", beta)
    mdp = check_order(env, wrapper_name(wrapper), VIEW)
    frozen = copy.deepcopy(policy).requires_grad_(False).to(mdp.device)
    models = (LanguageModel(frozen, mdp.task.vocab_size), mdp.reference)
    rewards = partial(score_differences, k=1) if keep_total else potential_rise
    scorer = partial(summed_log_ratios, *models, beta=beta, temperature=mdp.temperature)
    return Density(name="score", rewards=rewards), scorer


def potential_rise(scored: ScoredPrefixes) -> Tensor:
    """Return phi(t) − phi(t − 1) at each step, [B, T], the end included."""
    return scored.phi.diff(dim=1)


def summed_log_ratios(
    policy: LanguageModel,
    reference: LanguageModel,
    given: Responses,
    *,
    beta: float,
    temperature: float = 1.0,
) -> list[Tensor]:
    """Return beta · Σ log pi / pi_ref over the first 0, 1, … actions: B vectors [actions + 1]."""
    texts = [torch.cat(pair) for pair in zip(given.prompts, given.responses, strict=True)]
    tokens = pad_sequence(texts, batch_first=True).to(reference.device)
    chosen = [
        torch.cat([torch.zeros(len(prompt), dtype=torch.bool), own.cpu()])
        for prompt, own in zip(given.prompts, given.is_action, strict=True)
    ]
    is_action = pad_sequence(chosen, batch_first=True).to(tokens.device)
    new, old = (
        score_rollout(model, tokens, is_action, temperature).double()
        for model in (policy, reference)
    )
    terms = (beta * (new - old)).cpu()
    rows = (row[wanted] for row, wanted in zip(terms, is_action.cpu(), strict=True))
    return [torch.cat([row.new_zeros(1), row.cumsum(dim=0)]) for row in rows]
