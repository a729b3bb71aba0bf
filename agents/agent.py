"""An agent: a policy, a learning rule, and the settings that join them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor, nn

from agents.algorithm import Algorithm, check_algorithm, check_targets, reads_old
from agents.config import AgentConfig, make_config
from agents.entropy.covariance import with_selection
from agents.evaluation.evaluate import evaluate
from agents.policy import Policy, PolicyOutput
from agents.processes.exchange import agreed_seed, on_first
from agents.rollouts.collect import base_environment, collect
from agents.rollouts.contract import check_observation
from agents.rollouts.decisions import sum_per_decision
from agents.rollouts.kl_reward import learned_kl
from agents.rollouts.sampling_plan import Stream
from agents.rollouts.shaping import warn_of_other_discount
from agents.samplers.protocol import Sampler
from agents.samplers.sampling import EpisodeSampling, check_sampler_of
from agents.training.checkpoints.checkpoint import (
    load_checkpoint,
    restore_checkpoint,
    save_checkpoint,
)
from agents.training.checkpoints.export import export_adapter, export_model
from agents.training.kl_coefficient import KLCoefficient
from agents.training.learner import Learner
from agents.training.lora import adapted
from agents.training.pretraining import pretraining_texts
from agents.training.train import Callback, train
from rlhf_env.rollout import Rollout


class Agent:
    """Trains a language model in the token MDP by an `Algorithm`.

    `PPO` and `GRPO` are this class with their algorithm; give an algorithm of your own to use the
    same policy, rollouts, optimizer, evaluation and checkpoints.
    """

    config_class: ClassVar[type[AgentConfig]] = AgentConfig
    algorithm_class: ClassVar[type[Any] | None] = None
    learner_class: ClassVar[type[Learner]] = Learner
    takes_sampler: ClassVar[bool] = True

    def __init__(
        self,
        envs: VectorEnv[Any, Any, Any],
        *,
        policy: nn.Module | None = None,
        algorithm: Algorithm | None = None,
        pretraining: Sequence[str] | Sequence[Tensor] = (),
        sampler: Sampler | None = None,
        **settings: Any,
    ) -> None:
        """Make an agent for an environment.

        Args:
            envs: a vector environment of RLHF-v0, with or without wrappers.
            policy: the language model to train; a copy of the task's reference when None.
            algorithm: the learning rule, unless the class brings its own.
            pretraining: texts, or their token ids, for the loss that ``ptx_coef`` weighs.
            sampler: draws the episodes in place of the policy; see `agents.samplers.protocol`. How
                far it is from the policy is corrected by ``importance``.
            **settings: the fields of ``config_class``; ``seed=None`` draws one, which is
                ``config.seed`` then.

        Raises:
            ValueError: if a setting is unknown or out of range, the algorithm lacks a method, the
                policy is the reference, or the agent has no use for a sampler.
        """
        name = type(self).__name__
        self.config = agreed_seed(make_config(self.config_class, name, settings))
        check_sampler_of(self, sampler, self.config)
        self.envs = envs
        self.base = base_environment(envs)
        warn_of_other_discount(envs, getattr(self.config, "gamma", None))
        self._kl = KLCoefficient(self.config, self.base)
        rule = self._own_algorithm() if algorithm is None else algorithm
        check_algorithm(rule)
        reference = self.base.mdp.reference.model
        if policy is reference or policy is self.base.task.reference:
            raise ValueError(
                "policy is the task's reference, which must stay as it is; "
                "give a copy.deepcopy of it, or leave policy out"
            )
        self.policy = self._make_policy(self._own_model(policy))
        texts = pretraining_texts(pretraining, self.base.task, self.config.ptx_coef)
        self.learner = self.learner_class(self.policy, rule, self.config, texts)
        self.episode_sampling = EpisodeSampling(self.policy, self.config, sampler)
        self.updates = 0
        self.episodes = 0
        self._acting = np.random.default_rng([self.config.seed, Stream.ACTING])

    @property
    def kl_coef(self) -> float:
        """Beta that the next rollout is paid with; settable, as by a schedule in a callback.

        ``config.kl_coef`` at first, or the environment's as long as that is None. A ``kl_target``
        moves it after every update. It is in place in the environment only while this agent
        collects or evaluates, so agents can share an environment.
        """
        return self._kl.value

    @kl_coef.setter
    def kl_coef(self, value: float) -> None:
        self._kl.value = value

    @property
    def episodes_per_update(self) -> int:
        """Episodes of each rollout."""
        return self.config.episodes_per_update

    def learn(
        self,
        total_episodes: int,
        *,
        log_dir: str | Path | None = None,
        progress: bool = True,
        callback: Callback | None = None,
        track: str = "tensorboard",
    ) -> list[dict[str, float]]:
        """Train until ``total_episodes`` have been seen; see `agents.train`."""
        return train(
            self,
            self.envs,
            total_episodes,
            log_dir=log_dir,
            progress=progress,
            callback=callback,
            track=track,
        )

    def collect(self) -> Rollout:
        """Return the rollout of the next update."""
        return self.resample(0)

    def resample(self, draw: int) -> Rollout:
        """Return one of the rollouts that the next update may learn from, by number.

        The first has number 0. Others are drawn where an agent wants more episodes than it keeps.
        """
        seed = (self.config.seed, Stream.ROLLOUT, self.updates)
        self.episode_sampling.refresh(self, self.updates)
        with self.sampling() as policy:
            return collect(
                self.envs,
                policy,
                self.config.episodes_per_update,
                seed=seed if draw == 0 else (*seed, draw),
                group_size=self.config.group_size,
                kl_coef=self.kl_coef,
                sampler=self.episode_sampling.sampler,
            )

    @contextmanager
    def sampling(self) -> Iterator[Policy]:
        """Hold the policy that samples the next rollout.

        It is ``policy``, unless the settings give the sampler other weights or distort its
        probabilities. It is to be used inside the ``with`` only: the weights of an earlier update
        are in place there.
        """
        with self._one_thread(), self.episode_sampling.acting(self.updates) as policy:
            yield policy

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Learn from a rollout and return what happened.

        Raises:
            ValueError: if a loss or a gradient is not finite, the weights being those before that
                step; or the algorithm returns something invalid.
        """
        with self._one_thread():
            self.policy.eval()
            before = self.episode_sampling.before_update()
            old, first_pass = self._evaluate(rollout)
            rollout = self.learned(rollout, old)
            targets, figures = self.targets(rollout, old, self._generator(Stream.SELECTION))
            generator = self._generator(Stream.SHUFFLE)
            metrics = self.learner.update(rollout, old, targets, generator, first_pass)
            metrics |= self.episode_sampling.figures(self.updates, rollout, old)
            self.episode_sampling.after_update(before)
            self.updates += 1
            self.episodes += len(rollout)
            kl_coef = self.kl_coef
            if not self.learner.is_critic_only:
                self.steer_kl(rollout)
        return (
            metrics
            | figures
            | {
                "return": float(rollout.rewards.sum(1).mean()),
                "kl_coef": kl_coef,
            }
        )

    def targets(
        self, rollout: Rollout, old: PolicyOutput, generator: np.random.Generator | None = None
    ) -> tuple[Any, dict[str, float]]:
        """Return what one update aims at, and what is known of it before any step.

        Args:
            rollout: what `learned` returned.
            old: outputs of the policy at the beginning of the update.
            generator: chooses decisions where ``clip_cov_fraction`` draws some; with None they
                have the expected weight.

        Raises:
            ValueError: if the algorithm returns something invalid.
        """
        targets = self.learner.algorithm.targets(rollout, old, self.base.mdp.reference)
        check_targets(targets, len(rollout))
        return with_selection(
            targets, sum_per_decision(old.logprobs, rollout), self.config, generator
        )

    def learned(self, rollout: Rollout, old: PolicyOutput) -> Rollout:
        """Return paid episodes with the KL where the learning rule has it.

        That is what ``algorithm.targets`` is given: the KL is in the rewards, or taken out of
        them for the loss, and by the estimator of the settings.

        Args:
            rollout: what `collect` returned.
            old: outputs of the policy at the beginning of the update. The KL is that of the policy
                that sampled, unless the settings tell the two apart.
        """
        rollout, kl = self._with_provenance(rollout), self.config.kl
        logprobs = old.logprobs if self.config.corrects_sampler else None
        return learned_kl(rollout, kl.placement, kl.estimator, logprobs)

    def steer_kl(self, rollout: Rollout) -> None:
        """Move ``kl_coef`` towards ``kl_target``, if there is one, by a rollout's KL."""
        self._kl.update(rollout)

    def act(self, observation: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Sample a token for every row.

        Args:
            observation: of a vector environment.

        Returns:
            [N] tokens and [N] their log-probabilities.

        Raises:
            ValueError: if it is not an observation of a vector environment.
        """
        check_observation(observation)
        device = self.policy.lm.device
        tokens = torch.as_tensor(observation["input_ids"], device=device)
        lengths = torch.as_tensor(observation["attention_mask"], device=device).long().sum(1)
        uniforms = torch.from_numpy(self._acting.random(len(tokens), dtype=np.float32))
        chosen, logprobs = self.policy.sample(tokens, lengths, uniforms.to(device))
        return chosen.cpu().numpy(), logprobs.cpu().numpy()

    def token_probabilities(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return pi(.|s) after the first ``lengths[i]`` tokens of each row, [N, V]."""
        return self.policy.token_probabilities(tokens, lengths)

    def sample(self, prompts: Sequence[Tensor], *, seed: int = 0) -> Rollout:
        """Return one response to each prompt, with scores and log-probabilities."""
        return collect(
            self.envs,
            self.policy,
            len(prompts),
            prompts=prompts,
            seed=(self.config.seed, Stream.EVALUATION, seed),
            kl_coef=self.kl_coef,
        )

    def evaluate(self, episodes: int = 256) -> dict[str, float]:
        """Evaluate the policy on the task's evaluation prompts.

        See `agents.evaluation.evaluate.evaluate` for the keys. The same episodes are drawn at
        every call, and training is not disturbed.
        """
        seed = (self.config.seed, Stream.EVALUATION)
        with self._one_thread():
            return evaluate(self.envs, self.policy, episodes, seed, self.kl_coef)

    def save(self, path: str | Path) -> None:
        """Write policy, value head, optimizer, counters and settings into a folder, atomically.

        Of several processes all must call it, and the first writes.
        """
        with self._one_thread():
            save_checkpoint(self, Path(path))

    def export(
        self,
        folder: str | Path,
        *,
        adapter: bool = False,
        figures: Mapping[str, float] | None = None,
    ) -> None:
        """Write an ordinary Hugging Face model folder: tokenizer, generation settings, README.md.

        Of several processes all must call it, and the first writes.

        Args:
            folder: new or empty.
            adapter: write the adapter of ``lora_rank`` alone, as peft reads it; else it is added
                to the weights.
            figures: shown in README.md, such as what `evaluate` returned; none by default.

        Raises:
            ValueError: if the folder is taken, the policy is not a Hugging Face model, or there is
                no adapter.
        """
        with self._one_thread():
            write = export_adapter if adapter else export_model
            on_first(lambda: write(self, Path(folder), figures or {}))

    def restore(self, path: str | Path) -> None:
        """Restore the state that `save` wrote, under the same settings.

        Raises:
            ValueError: if the folder holds no complete checkpoint, or one of other settings.
        """
        with self._one_thread():
            restore_checkpoint(self, Path(path))

    @classmethod
    def load(cls, path: str | Path, envs: VectorEnv[Any, Any, Any], **arguments: Any) -> Self:
        """Return the agent that `save` wrote, with the settings that it had.

        Args:
            path: the folder.
            envs: the environment to continue in.
            **arguments: ``policy`` or ``algorithm`` where the agent was made with one.

        Raises:
            ValueError: if the folder holds no complete checkpoint of this class.
        """
        return load_checkpoint(cls, Path(path), envs, arguments)

    @contextmanager
    def _one_thread(self) -> Iterator[None]:
        """Hold environment and policy, so that no other thread sees half a change."""
        with self.base.overridden(), self.policy.lock:
            yield

    def _generator(self, stream: Stream) -> np.random.Generator:
        """Return the random numbers of one kind for the next update."""
        return np.random.default_rng([self.config.seed, stream, self.updates])

    def _own_algorithm(self) -> Algorithm:
        if self.algorithm_class is None:
            raise ValueError("Agent needs algorithm=, got None; PPO and GRPO bring their own")
        return self.algorithm_class(self.config)

    def _evaluate(self, rollout: Rollout) -> tuple[PolicyOutput, PolicyOutput | None]:
        """Return the outputs of the policy that acted, as far as the learning rule reads them."""
        if reads_old(self.learner.algorithm):
            return self.learner.evaluate_rollout(rollout)
        return self.policy.sampler_only(rollout), None

    def _own_model(self, policy: nn.Module | None) -> nn.Module:
        """Return the model to train: the one given, or made from the reference."""
        config, reference = self.config, self.base.mdp.reference.model
        if config.lora_rank is not None:
            base: Any = reference if policy is None else policy
            return adapted(base, config.lora_rank, config.lora_alpha, config.seed)
        return copy.deepcopy(reference).requires_grad_(True) if policy is None else policy

    def _make_policy(self, model: nn.Module, **critic: Any) -> Policy:
        """Return the policy around a model, with the critic that an agent asks for."""
        return Policy(
            model,
            self.base.task.vocab_size,
            self.config.temperature,
            precision=self.config.precision,
            gradient_checkpointing=self.config.gradient_checkpointing,
            # Sharing prompts changes rounding between minibatches and the whole rollout, so with
            # several steps the ratios of an unchanged policy would differ from 1.
            shares_prompts=self.config.is_single_step,
            **critic,
        )

    def _with_provenance(self, rollout: Rollout) -> Rollout:
        """Return the rollout with how its KL was paid, taken from the environment if missing."""
        known: dict[str, Tensor] = {}
        if rollout.kl_coef is None:
            known["kl_coef"] = torch.full_like(rollout.score, self.base.kl_coef)
        if rollout.includes_policy_logprob is None:
            known["includes_policy_logprob"] = torch.full_like(
                rollout.terminated, self.base.mdp.options.includes_policy_logprob
            )
        return rollout.replace(**known)
