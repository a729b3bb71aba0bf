"""An agent: a policy, a learning rule, and the settings that join them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor, nn

from agents.algorithm import Algorithm, check_algorithm, check_targets, reads_old, take_rows
from agents.config import AgentConfig, make_config
from agents.entropy.covariance import with_selection
from agents.policy import Policy, PolicyOutput
from agents.processes.exchange import agreed_seed
from agents.replay.buffer import Replay
from agents.replay.mixing import check_replay_of, offline_rollout, with_old
from agents.rollouts.collect import base_environment, collect
from agents.rollouts.decisions import sum_per_decision
from agents.rollouts.kl_reward import learned_kl, with_provenance
from agents.rollouts.sampling_plan import Stream
from agents.rollouts.shaping import check_turn_settings, warn_of_other_discount
from agents.samplers.protocol import Sampler
from agents.samplers.sampling import EpisodeSampling, check_sampler_of
from agents.training.checkpoints.persistence import Persistence
from agents.training.kl_coefficient import KLCoefficient
from agents.training.learner import Learner
from agents.training.lora import adapted
from agents.training.pretraining import pretraining_texts
from agents.training.train import Callback, train
from rlhf_env.rollout import Rollout


class Agent(Persistence):
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
        replay: Replay | None = None,
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
            replay: old episodes that every update learns from besides its fresh ones.
            **settings: the fields of ``config_class``; ``seed=None`` draws one, which is
                ``config.seed`` then.

        Raises:
            ValueError: if a setting is unknown or out of range, the algorithm lacks a method, the
                policy is the reference, or the agent has no use for a sampler or a replay.
        """
        name = type(self).__name__
        self.config = agreed_seed(make_config(self.config_class, name, settings))
        check_sampler_of(self, sampler, self.config)
        self.envs = envs
        self.base = base_environment(envs)
        check_turn_settings(self.base.task, self.config)
        warn_of_other_discount(envs, self.config)
        self._kl = KLCoefficient(self.config, self.base)
        rule = self._own_algorithm() if algorithm is None else algorithm
        check_algorithm(rule)
        check_replay_of(self, replay, rule)
        self.replay = replay
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
        config, device = self.config, self.base.mdp.device
        if self.replay is not None and self.replay.is_offline:
            return offline_rollout(self.replay, config, self.updates, draw, self.kl_coef, device)
        seed = (config.seed, Stream.ROLLOUT, self.updates)
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
        fresh = torch.arange(len(rollout), device=rollout.tokens.device)
        with self._one_thread():
            self.policy.eval()
            before = self.episode_sampling.before_update()
            rollout, mixed = self._with_old(rollout)
            old, first_pass = self._evaluate(rollout)
            rollout = self.learned(rollout, old)
            targets, figures = self.targets(rollout, old, self._generator(Stream.SELECTION))
            generator = self._generator(Stream.SHUFFLE)
            metrics = self.learner.update(rollout, old, targets, generator, first_pass)
            if mixed:
                # What is measured and steered by is the fresh episodes.
                rollout, old = rollout.take(fresh), take_rows(old, fresh)
            metrics |= mixed | self.episode_sampling.figures(self.updates, rollout, old)
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
        rollout, kl = with_provenance(rollout, self.base), self.config.kl
        logprobs = old.logprobs if self.config.corrects_sampler else None
        return learned_kl(rollout, kl.placement, kl.estimator, logprobs)

    def steer_kl(self, rollout: Rollout) -> None:
        """Move ``kl_coef`` towards ``kl_target``, if there is one, by a rollout's KL."""
        self._kl.update(rollout)

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

    def _with_old(self, rollout: Rollout) -> tuple[Rollout, dict[str, float]]:
        """Return the rows of an update, the rollout's first, and figures of the others."""
        if self.replay is None:
            return rollout, {}
        fresh, pad_id = with_provenance(rollout, self.base), self.base.task.pad_id
        return with_old(self.replay, fresh, self.config, self.updates, self.kl_coef, pad_id)

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
            cuda_graphs=self.config.cuda_graphs,
            flex_attention=self.config.flex_attention,
            **critic,
        )
