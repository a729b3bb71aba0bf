"""A causal language model as the policy of Stable-Baselines3's on-policy agents."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import Tensor, nn
from torch.distributions import Categorical

from rlhf_env.engine.language_model import LanguageModel


class CausalLMPolicy(BasePolicy):
    """Actor and critic on one language model, for ``stable_baselines3.PPO`` and ``A2C``.

    It reads the environment's own observation and chooses among all tokens. The agent optimizes the
    environment's rewards. With ``kl_penalty="reference"`` and ``ent_coef`` = ``kl_coef`` it is
    close to the RLHF objective but not equal to it: the bonus is in the loss, not in the values
    (see ``docs/wrappers.md``). Every step reads the whole prefix again, since the agent needs
    values too; `agents.PPO` does not.

    Example:
        >>> import gymnasium as gym, rlhf_env
        >>> from stable_baselines3 import PPO
        >>> from wrappers.stable_baselines3 import VecEnv
        >>> task = rlhf_env.load_task("toy15")
        >>> envs = VecEnv(gym.make_vec("RLHF-v0", num_envs=4, task=task))
        >>> agent = PPO(CausalLMPolicy, envs, policy_kwargs={"model": task.reference})
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        *,
        model: nn.Module,
        temperature: float = 1.0,
        optimizer_class: type[torch.optim.Optimizer] = torch.optim.Adam,
        optimizer_kwargs: Mapping[str, Any] | None = None,
        use_sde: bool = False,
    ) -> None:
        """Copy a model and add a value head, which starts at zero, to its trunk.

        Args:
            observation_space: of ``RLHF-v0``.
            action_space: ``Discrete(V)``.
            lr_schedule: learning rate by remaining progress.
            model: a causal language model, such as the task's reference; it is not changed.
            temperature: divides the logits.
            optimizer_class: class of the optimizer.
            optimizer_kwargs: its settings; Adam's epsilon is 1e-5 unless given.
            use_sde: refused; noise that depends on the state is for continuous actions.

        Raises:
            ValueError: if the spaces are not those of single tokens, or ``use_sde`` is asked for.
        """
        _check_spaces(observation_space, action_space)
        if use_sde:
            raise ValueError("use_sde is for continuous actions, got True; leave it out")
        super().__init__(observation_space, action_space)
        self.model = copy.deepcopy(model).requires_grad_(True)
        self.lm = LanguageModel(self.model, int(action_space.n))  # type: ignore[attr-defined]
        self.temperature = temperature
        self.value_head = nn.Linear(self.lm.hidden_size, 1)
        nn.init.zeros_(self.value_head.weight)
        nn.init.zeros_(self.value_head.bias)
        if optimizer_kwargs is None:
            optimizer_kwargs = {"eps": 1e-5} if optimizer_class is torch.optim.Adam else {}
        options: dict[str, Any] = {"lr": lr_schedule(1), **optimizer_kwargs}
        self.optimizer = optimizer_class(self.parameters(), **options)

    def set_training_mode(self, mode: bool) -> None:
        """Stay in eval mode: with dropout on, a policy would disagree with its own samples."""
        self.train(False)

    def forward(
        self, obs: dict[str, Tensor], deterministic: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return actions [N], values [N, 1] and log-probabilities [N]."""
        distribution, values = self._judge(obs)
        actions = distribution.probs.argmax(-1) if deterministic else distribution.sample()
        return actions, values, distribution.log_prob(actions)

    def evaluate_actions(
        self, obs: dict[str, Tensor], actions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return values [N, 1], log-probabilities [N] and entropies [N] of actions taken."""
        distribution, values = self._judge(obs)
        return values, distribution.log_prob(actions.long().flatten()), distribution.entropy()

    def predict_values(self, obs: dict[str, Tensor]) -> Tensor:
        """Return values [N, 1]."""
        return self._judge(obs)[1]

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> Tensor:
        return self.forward(observation, deterministic)[0]  # type: ignore[arg-type]

    def _judge(self, obs: dict[str, Tensor]) -> tuple[Categorical, Tensor]:
        lengths = obs["attention_mask"].long().sum(1)
        hidden = self.lm.hidden(obs["input_ids"].long()[:, : int(lengths.max())])
        last = hidden[torch.arange(len(lengths), device=hidden.device), lengths - 1]
        logits = self.lm.logits(last) / self.temperature
        return Categorical(logits=logits), self.value_head(last.to(self.value_head.weight.dtype))


def _check_spaces(observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> None:
    names = set(observation_space) if isinstance(observation_space, spaces.Dict) else set()
    if names != {"input_ids", "attention_mask"} or not isinstance(action_space, spaces.Discrete):
        raise ValueError(
            "CausalLMPolicy reads input_ids and attention_mask and chooses among Discrete tokens, "
            f"got {observation_space} and {action_space}; leave wrappers that change them out, "
            'and use kl_penalty="reference"'
        )
