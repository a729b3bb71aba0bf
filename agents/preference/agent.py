"""Agents that learn from compared responses: fixed ones, or their own, compared as they come."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from gymnasium.vector import VectorEnv
from torch import nn

from agents.agent import Agent
from agents.algorithm import Algorithm
from agents.evaluation.metrics import rollout_metrics
from agents.policy import Policy
from agents.preference.algorithm import PreferenceAlgorithm
from agents.preference.figures import held_out_figures
from agents.preference.fixed import FixedPreferences
from agents.preference.iterate import LastIterate
from agents.preference.labels import make_labeler
from agents.processes.exchange import on_first
from agents.rollouts.sampling_plan import Stream
from agents.settings.preference import PreferenceConfig, own_names
from agents.state_measures import StateMeasures
from agents.training.group_learner import GroupLearner
from agents.training.train import Callback
from rlhf_env.checks import check_count
from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.engine.scoring import score_rollout
from rlhf_env.rollout import Rollout


class PreferenceAgent(Agent):
    """Learns from comparisons by one of the losses of `agents.preference.losses`.

    With ``preferences`` it learns from them alone, and nothing is scored by the task's reward.
    Without, it samples ``group_size`` responses to each prompt, and ``labels`` compare them. Beta
    is the environment's KL coefficient where the loss has one, so the optimum is that of PPO.

    Example:
        >>> agent = DPO(envs, preferences="pairs.jsonl")  # doctest: +SKIP
        >>> agent.learn(passes=3, log_dir="runs/dpo")  # doctest: +SKIP
        >>> agent.preference_figures("held_out.jsonl")["accuracy"]  # doctest: +SKIP
        >>> DPO(envs, labels="sampled").learn(4096)  # doctest: +SKIP
    """

    config: PreferenceConfig
    config_class = PreferenceConfig
    algorithm_class = PreferenceAlgorithm
    learner_class = GroupLearner

    def __init__(
        self,
        envs: VectorEnv[Any, Any, Any],
        *,
        preferences: Any = None,
        labels: Any = None,
        held_out: Any = None,
        reference_file: str | Path | None = None,
        **arguments: Any,
    ) -> None:
        """Make an agent that learns from comparisons.

        Args:
            envs: a vector environment of RLHF-v0, with or without wrappers.
            preferences: fixed comparisons: see `read_groups`.
            labels: what compares the agent's own responses: "soft", "sampled" or "hard", by the
                score, or a judge; see `make_labeler`. "soft" when None: the mean of "sampled"
                without its noise.
            held_out: comparisons as ``preferences``, evaluated every ``held_out_every`` updates.
            reference_file: keeps the reference's log-probabilities of ``preferences``, which are
                computed once for a model, a temperature and a data set; `learn` has one in its
                ``log_dir``.
            **arguments: of `Agent`; ``loss_type`` is TRL's name for a ``loss``.

        Raises:
            ValueError: if a setting, or the data, cannot be used, or both ``preferences`` and
                ``labels`` are given.
        """
        if preferences is not None and labels is not None:
            raise ValueError(
                "preferences are compared already, got labels too; leave one of the two out"
            )
        if labels is not None:
            arguments["label_rule"] = labels if isinstance(labels, str) else "judge"
        super().__init__(envs, **own_names(arguments))
        if self.config.beta is None and self.config.traits.has_beta and self.kl_coef == 0:
            raise ValueError(
                "beta is the KL coefficient, which is 0, and a loss without beta teaches nothing; "
                "set beta or kl_coef"
            )
        self.preferences = None if preferences is None else self._fixed(preferences, "preferences")
        self.held_out = None if held_out is None else self._fixed(held_out, "held_out")
        if self.preferences is None:
            rule = self.config.label_rule if labels is None else labels
            self._label = make_labeler(rule, self.base.task.tokenizer)
        elif reference_file is not None:
            self.preferences.path = Path(reference_file)
        self._is_warned = False
        self.iterate = None
        if self.config.reference_every is not None:
            self.iterate = LastIterate(self.policy, self.config.reference_every)
            if self.policy.measures.reference is not None:
                moved = replace(self.policy.measures, reference=self.iterate.lm)
                self.policy.measures = moved

    @property
    def beta(self) -> float:
        """The loss's beta: its own, or the KL coefficient of the next rollout."""
        return self.kl_coef if self.config.beta is None else self.config.beta

    @property
    def reference(self) -> LanguageModel:
        """What the loss keeps the policy close to: the task's reference, or the last iterate."""
        return self.base.mdp.reference if self.iterate is None else self.iterate.lm

    @property
    def further_models(self) -> dict[str, nn.Module]:
        """Models besides the policy that checkpoints hold, by name."""
        return {} if self.iterate is None else {"iterate": self.iterate.lm.model}

    @property
    def groups_per_update(self) -> int:
        """Groups of responses that each update learns from."""
        return max(1, self.config.episodes_per_update // self._largest)

    @property
    def episodes_per_update(self) -> int:
        """Responses of each update; of data with groups of several sizes, at most."""
        return self.groups_per_update * self._largest

    def learn(
        self,
        total_episodes: int | None = None,
        *,
        passes: int | None = None,
        log_dir: str | Path | None = None,
        progress: bool = True,
        callback: Callback | None = None,
        track: str = "tensorboard",
    ) -> list[dict[str, float]]:
        """Train until ``total_episodes`` responses have been seen; see `agents.train`.

        Args:
            total_episodes: rounded up to whole updates.
            passes: through all of ``preferences``, in place of ``total_episodes``.
            log_dir: as in `agents.train`.
            progress: likewise.
            callback: likewise.
            track: likewise.

        Raises:
            ValueError: if not one of the two is given, or ``passes`` without ``preferences``.
        """
        if (total_episodes is None) == (passes is None):
            raise ValueError(
                f"learn needs total_episodes or passes, got {total_episodes} and {passes}; give one"
            )
        if passes is not None:
            total_episodes = self.episodes_of(passes)
        assert total_episodes is not None
        if log_dir is not None and self.preferences is not None and self.preferences.path is None:
            self.preferences.path = Path(log_dir) / "reference.safetensors"
        return super().learn(
            total_episodes, log_dir=log_dir, progress=progress, callback=callback, track=track
        )

    def episodes_of(self, passes: int) -> int:
        """Return the ``total_episodes`` of some passes through all of ``preferences``.

        Raises:
            ValueError: if there are none.
        """
        if self.preferences is None:
            raise ValueError(
                f"passes go through preferences, got {passes} passes without preferences; give "
                "total_episodes"
            )
        check_count("passes", passes)
        updates = -(-passes * len(self.preferences) // self.groups_per_update)
        return updates * self.episodes_per_update

    def resample(self, draw: int) -> Rollout:
        """Return the next groups: of the data, each once per pass, or sampled and labeled."""
        if self.preferences is None:
            return self._labeled(self._sampled(draw), draw)
        size = self.groups_per_update
        numbers = self.preferences.dealt(self.config.seed, (self.updates + draw) * size, size)
        return self._given(self.preferences, numbers)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Learn from a rollout, which is labeled if it is not, and return what happened."""
        if rollout.preference is None and self.preferences is None:
            rollout = self._labeled(rollout, 0)
        metrics = super().update(self._referred(rollout)) | {"beta": self.beta}
        if self.iterate is not None and self.updates % self.iterate.every == 0:
            self.iterate.follow(self.policy)
        if self.preferences is not None:
            # Nothing was paid.
            del metrics["return"]
        if self.config.loss == "robust" and metrics["preference_loss"] < 0 and not self._is_warned:
            self._is_warned = True
            warnings.warn(
                "the loss 'robust' is below 0: fewer labels are flipped than label_smoothing says, "
                "and then it has no minimum; lower label_smoothing",
                stacklevel=2,
            )
        if self.held_out is not None and self.updates % self.config.held_out_every == 0:
            found = self._figures(self.held_out)
            metrics |= {f"held_out_{name}": value for name, value in found.items()}
        return metrics

    def measure(self, rollout: Rollout) -> dict[str, float]:
        """Return what the training loop logs of a rollout: of fixed data, nothing is scored."""
        if self.preferences is None:
            return rollout_metrics(rollout, self.base.task)
        ends = rollout.tokens[rollout.last_action] == self.base.task.eos_id
        return {
            "response_length": float(rollout.response_lengths.float().mean()),
            "eos_rate": float(ends.float().mean()),
        }

    def preference_figures(self, preferences: Any = None) -> dict[str, float]:
        """Return how well the policy's implicit reward predicts comparisons.

        Args:
            preferences: as the agent takes them; those held out when None.

        Returns:
            ``loss``, ``accuracy`` (equal rewards, and ties, count half), ``margin``,
            ``chosen_reward``, ``rejected_reward``, ``chosen_logprob``, ``calibration_error`` (of
            σ(margin), the expected error in ten bins) and ``pairs``.

        Raises:
            ValueError: if they cannot be used, or there are none.
        """
        if preferences is not None:
            return self._figures(self._fixed(preferences, "preferences"))
        if self.held_out is None:
            raise ValueError("preferences must be given, got None and an agent without held_out")
        return self._figures(self.held_out)

    def _figures(self, fixed: FixedPreferences) -> dict[str, float]:
        with self._one_thread():
            self.policy.eval()
            rollout = self._given(fixed)
            rule = cast(PreferenceAlgorithm, self.learner.algorithm)
            return held_out_figures(rule, rollout, self.policy)

    @property
    def _largest(self) -> int:
        return self.config.group_size if self.preferences is None else self.preferences.largest

    def _make_policy(self, model: nn.Module, **critic: Any) -> Policy:
        policy = super()._make_policy(model, **critic)
        # Nothing here is the ratio of two passes, which sharing would round differently.
        policy.lm.shares_prompts = True
        if self.config.loss in ("tdpo1", "tdpo2"):
            policy.measures = StateMeasures(reference=self.base.mdp.reference)
        if self.config.use_weighting:
            policy.measures = replace(policy.measures, log_collision=True)
        return policy

    def _own_algorithm(self) -> Algorithm:
        if self.config.traits.kind == "single":
            raise ValueError(
                f"{type(self).__name__} learns from comparisons, got the loss "
                f"{self.config.loss!r} of single responses; use the agent of that name"
            )
        return super()._own_algorithm()

    def _sampled(self, draw: int) -> Rollout:
        """Return responses to be compared; see `Agent.resample`."""
        return super().resample(draw)

    def _referred(self, rollout: Rollout) -> Rollout:
        """Return the rollout with the log-probabilities of the loss's reference."""
        if self.iterate is None:
            return rollout
        tokens, is_action = rollout.tokens, rollout.is_action
        known = score_rollout(self.iterate.lm, tokens, is_action, self.config.temperature)
        return rollout.replace(ref_logprobs=known)

    def _labeled(self, rollout: Rollout, draw: int) -> Rollout:
        seed = [self.config.seed, Stream.LABELS, self.updates, draw]
        # Once for all processes: a judge may be slow, or say something else when asked again.
        found = on_first(lambda: self._label(rollout, np.random.default_rng(seed)).cpu())
        return rollout.replace(preference=found.to(rollout.score.device))

    def _fixed(self, source: Any, name: str) -> FixedPreferences:
        config = self.config
        alone = config.traits.kind == "single"
        fixed = FixedPreferences(
            self.envs, source, temperature=config.temperature, alone=alone, name=name
        )
        if config.loss in ("rpo", "pro") and any(group.scores is None for group in fixed.groups):
            raise ValueError(
                f"the loss {config.loss!r} needs the responses' scores, got {name} without; give "
                "ratings or margins, or choose another loss"
            )
        return fixed

    def _given(self, fixed: FixedPreferences, numbers: Sequence[int] | None = None) -> Rollout:
        is_discounted = self.config.gamma < 1
        return fixed.rollout(self.kl_coef, numbers, counts_decisions=is_discounted)
