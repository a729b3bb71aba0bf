"""Best of n: the comparison that trains nothing. Of n responses the task's reward chooses one.

Where all responses can be enumerated, the distribution of what is chosen is known exactly, and so
are its log-probabilities and its KL. Elsewhere they are unknown: metrics that need them are NaN,
and ``kl_bound`` is an upper bound on the KL.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor, nn

from agents.algorithms.best_of_n_distribution import BestOfNDistribution
from agents.algorithms.best_of_n_estimators import best_of_n_kl_bound
from agents.algorithms.group_advantages import check_terminated
from agents.evaluation.evaluate import against_reference
from agents.evaluation.metrics import distinct_ngrams, mean_kl, rollout_metrics
from agents.policy import Policy
from agents.processes.exchange import agreed_seed
from agents.rollouts.collect import base_environment, collect
from agents.rollouts.contract import check_observation
from agents.rollouts.kl_reward import estimated_kl
from agents.rollouts.sampling_plan import Stream
from agents.settings.agent import AgentConfig, make_config
from agents.settings.best_of_n import BestOfNConfig
from agents.training.checkpoints.checkpoint import (
    load_checkpoint,
    restore_checkpoint,
    save_checkpoint,
)
from agents.training.train import Callback, train
from rlhf_env.checks import check_number
from rlhf_env.engine.sampling import inverse_cdf
from rlhf_env.rollout import Rollout

_LEARNING = {field.name for field in dataclasses.fields(AgentConfig)}


class BestOfN:
    """Choose the best of n responses of a policy by the task's reward; nothing is trained.

    `learn` collects and logs answers as agents do that learn, and leaves the policy as it is.

    Example:
        >>> envs = gym.make_vec("RLHF-v0", num_envs=32, task="toy15")  # doctest: +SKIP
        >>> BestOfN(envs, n=16).evaluate()  # doctest: +SKIP
    """

    config_class = BestOfNConfig
    learner = None
    """Nothing is learned."""

    def __init__(
        self,
        envs: VectorEnv[Any, Any, Any],
        *,
        policy: nn.Module | None = None,
        **settings: Any,
    ) -> None:
        """Make the agent.

        Args:
            envs: a vector environment of RLHF-v0, with or without wrappers.
            policy: the language model to choose from; the task's reference when None.
            **settings: the fields of `BestOfNConfig`; ``seed=None`` draws one.

        Raises:
            ValueError: if a setting is unknown, out of range or one of learning, or the policy is
                the reference.
        """
        known = {field.name for field in dataclasses.fields(BestOfNConfig)}
        for name in settings.keys() & _LEARNING - known:
            raise ValueError(
                f"BestOfN trains nothing and has no use for {name}, got {settings[name]!r}; "
                "leave it out"
            )
        self.config = agreed_seed(make_config(BestOfNConfig, "BestOfN", settings))
        self.envs = envs
        self.base = base_environment(envs)
        reference = self.base.mdp.reference.model
        if policy is reference or policy is self.base.task.reference:
            raise ValueError(
                "policy is the task's reference, which must stay as it is; "
                "give a copy.deepcopy of it, or leave policy out"
            )
        model = copy.deepcopy(reference) if policy is None else policy
        self.policy = Policy(model, self.base.task.vocab_size, self.config.temperature)
        self.updates = 0
        self.episodes = 0
        self._kl_coef = self.config.kl_coef
        self._acting = np.random.default_rng([self.config.seed, Stream.ACTING])
        self._exact = self._distribution()

    @property
    def kl_coef(self) -> float:
        """Beta that answers are paid with; the environment's unless set."""
        return self.base.kl_coef if self._kl_coef is None else self._kl_coef

    @kl_coef.setter
    def kl_coef(self, value: float) -> None:
        check_number("kl_coef", value, minimum=0.0)
        self._kl_coef = float(value)

    @property
    def episodes_per_update(self) -> int:
        """Answers of each rollout."""
        return self.config.episodes_per_update

    def learn(
        self,
        total_episodes: int,
        *,
        log_dir: str | Path | None = None,
        progress: bool = True,
        callback: Callback | None = None,
    ) -> list[dict[str, float]]:
        """Answer and log until ``total_episodes`` have been seen; see `agents.train`."""
        return train(
            self,
            self.envs,
            total_episodes,
            log_dir=log_dir,
            progress=progress,
            callback=callback,
        )

    def collect(self) -> Rollout:
        """Return the rollout of the next update."""
        return self.resample(0)

    def resample(self, draw: int) -> Rollout:
        """Return answers to prompts of the task; see `sample` for their log-probabilities."""
        seed = (self.config.seed, Stream.ROLLOUT, self.updates, *([draw] if draw else []))
        return self._answers(self._choose(self.config.episodes_per_update, seed))

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Count the episodes and return their metrics; nothing is learned."""
        self.updates += 1
        self.episodes += len(rollout)
        drawn = self.policy.evaluate_episodes(rollout.tokens, rollout.is_action).logprobs
        return {
            "entropy": self._exact.entropy(rollout),
            "return": float(self._paid(rollout).rewards.sum(1).mean()),
            "kl_coef": self.kl_coef,
            "kl_bound": self._kl_bound(rollout.replace(logprobs=drawn)),
            "ratio_max": 1.0,
            "clip_fraction": 0.0,
            "gradient_norm": 0.0,
            "optimizer_steps": 0.0,
        }

    def act(self, observation: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Sample a token for every row, where the distribution of the best of n is known.

        Raises:
            ValueError: if it is not known, because a whole response is chosen and not a token; or
                this is not an observation of a vector environment.
        """
        check_observation(observation)
        tokens = torch.as_tensor(observation["input_ids"]).cpu()
        lengths = torch.as_tensor(observation["attention_mask"]).cpu().long().sum(1)
        probabilities = self.token_probabilities(tokens, lengths)
        chosen = inverse_cdf(probabilities, torch.from_numpy(self._acting.random(len(tokens))))
        logprobs = probabilities.gather(1, chosen[:, None]).squeeze(1).log()
        return chosen.numpy(), logprobs.float().numpy()

    def token_probabilities(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return the exact distribution of each row's next token, [N, V] float64.

        Raises:
            ValueError: if the task's responses cannot be enumerated.
        """
        return self._exact.token_probabilities(tokens, lengths)

    def sample(self, prompts: Sequence[Tensor], *, seed: int = 0) -> Rollout:
        """Return the best of n responses to each prompt.

        ``logprobs`` are those of the chosen responses as such, NaN where they are not known; so is
        what an environment pays for them.
        """
        return self._answers(
            self._choose(len(prompts), (self.config.seed, Stream.EVALUATION, seed), prompts)
        )

    def evaluate(self, episodes: int = 256) -> dict[str, float]:
        """Evaluate the answers to the task's evaluation prompts.

        Returns:
            The keys of `agents.evaluation.evaluate.evaluate`, and ``kl_bound`` (nats per sequence).
            ``kl_exact`` is that of the whole distribution; it, ``kl``, ``kl_k3``, ``return`` and
            ``entropy`` are NaN where that distribution is not known.
        """
        seed, task = (self.config.seed, Stream.EVALUATION), self.base.task
        chosen = self._choose(episodes, seed, task.eval_prompts)
        rollout = self._paid(self._answers(chosen))
        reference = Policy(self.base.mdp.reference.model, task.vocab_size, self.config.temperature)
        other = collect(self.envs, reference, episodes, seed=seed, prompts=task.eval_prompts)
        return {
            **rollout_metrics(rollout, task),
            **against_reference(rollout, other, task),
            "kl_exact": self._exact.solved().kl if self._exact.is_known else math.nan,
            "kl_bound": self._kl_bound(chosen),
            "entropy": self._exact.entropy(rollout),
            "distinct_1": distinct_ngrams(rollout, 1),
            "distinct_2": distinct_ngrams(rollout, 2),
        }

    def save(self, path: str | Path) -> None:
        """Write policy, counters and settings into a folder, atomically."""
        with self.base.overridden(), self.policy.lock:
            save_checkpoint(self, Path(path))

    def restore(self, path: str | Path) -> None:
        """Restore the state that `save` wrote, under the same settings.

        Raises:
            ValueError: if the folder holds no complete checkpoint, or one of other settings.
        """
        with self.base.overridden(), self.policy.lock:
            restore_checkpoint(self, Path(path))
        self._exact = self._distribution()

    @classmethod
    def load(cls, path: str | Path, envs: VectorEnv[Any, Any, Any], **arguments: Any) -> Self:
        """Return the agent that `save` wrote, with the settings that it had.

        Args:
            path: the folder.
            envs: the environment to answer in.
            **arguments: ``policy`` where the agent was made with one.

        Raises:
            ValueError: if the folder holds no complete checkpoint of this class.
        """
        return load_checkpoint(cls, Path(path), envs, arguments)

    def _choose(
        self, count: int, seed: Sequence[int], prompts: Sequence[Tensor] | None = None
    ) -> Rollout:
        """Return the best of n responses to each of some prompts, as the policy drew them."""
        n = self.config.n
        drawn = collect(
            self.envs,
            self.policy,
            count * n,
            seed=seed,
            group_size=n,
            prompts=prompts,
            kl_coef=self.kl_coef,
        )
        check_terminated(drawn, "BestOfN")
        best = drawn.score.view(count, n).argmax(dim=1)
        return drawn.take(best + n * torch.arange(count, device=best.device))

    def _answers(self, chosen: Rollout) -> Rollout:
        """Put the log-probabilities of chosen responses in the place of the policy's."""
        answers = chosen.replace(logprobs=self._exact.logprobs(chosen))
        # What was paid is the log-probability under the policy that was chosen from.
        includes = answers.includes_policy_logprob
        return self._paid(answers) if includes is not None and includes.all() else answers

    def _paid(self, answers: Rollout) -> Rollout:
        """Return the answers with the KL paid by their own log-probabilities."""
        has_kl = answers.kl_coef is not None and answers.kl_coef.any()
        return estimated_kl(answers, "k1") if has_kl else answers

    def _kl_bound(self, chosen: Rollout) -> float:
        """Return the KL bound of choosing, plus the KL of the policy that was chosen from."""
        return best_of_n_kl_bound(self.config.n) + mean_kl(chosen, "sequence")

    def _distribution(self) -> BestOfNDistribution:
        """Return the exact distribution of answers under the weights that the policy has now."""
        return BestOfNDistribution(self.base, self.policy, self.config.n)
