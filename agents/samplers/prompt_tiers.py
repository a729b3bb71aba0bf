"""Which prompts to learn from next: those that the policy solves about half of the time.

A group of responses teaches by the differences of its scores; of a success with probability p
their variance is p (1 − p), the largest at one half.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlhf_env.checks import check_count, check_number

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]


class PromptTiers:
    """Draws prompts by the success seen in their tier of difficulty.

    A training loop hands the prompts on and says what came of them::

        tiers = PromptTiers(len(task.prompts), seed=0)
        chosen = tiers.draw(groups=8, update=agent.updates)
        prompts = [task.prompts[number] for number in chosen]
        rollout = collect(envs, agent.policy, 32, seed=seed, group_size=4, prompts=prompts)
        tiers.observe(np.repeat(chosen, 4), rollout.score.numpy())
        agent.update(rollout)

    A draw depends on the seed, the update and what was observed, so `state_dict` is all that a
    resumed run needs.
    """

    def __init__(
        self,
        prompts: int,
        *,
        tiers: Sequence[int] | None = None,
        memory: float = 0.9,
        floor: float = 0.05,
        seed: int = 0,
    ) -> None:
        """Begin with a success of one half everywhere.

        Args:
            prompts: how many there are.
            tiers: the tier of each, 0, 1, …; each prompt is one by itself when None.
            memory: what is left of earlier observations after each call of `observe`, in [0, 1).
            floor: added to p (1 − p), so that no tier is forgotten; > 0.
            seed: of the draws.

        Raises:
            ValueError: if a number is out of range, or a prompt has no tier.
        """
        check_count("prompts", prompts)
        check_number("memory", memory, minimum=0.0, maximum=1.0)
        check_number("floor", floor, minimum=1e-9)
        check_count("seed", seed, minimum=0)
        if memory == 1.0:
            raise ValueError(
                "memory must be below 1, where nothing would ever be forgotten, got 1; take 0.99"
            )
        known = np.arange(prompts) if tiers is None else np.asarray(tiers, dtype=np.int64)
        if known.shape != (prompts,) or known.min() < 0:
            raise ValueError(
                f"tiers must be one number >= 0 for each of {prompts} prompts, got "
                f"{known.shape[0] if known.ndim else 1} with the least {known.min()}"
            )
        self.tiers = known
        self.memory, self.floor, self.seed = memory, floor, seed
        # One success and one failure: what is not known yet counts as one half.
        self._successes = np.ones(int(known.max()) + 1)
        self._trials = 2 * np.ones_like(self._successes)

    @property
    def success(self) -> Floats:
        """The estimated success of each tier, in [0, 1]."""
        return self._successes / self._trials

    @property
    def probabilities(self) -> Floats:
        """With which the next draw takes each prompt: p (1 − p) + floor of its tier, scaled."""
        weights = self.success * (1 - self.success) + self.floor
        found = weights[self.tiers]
        return found / found.sum()

    def draw(self, groups: int, update: int) -> Numbers:
        """Return the numbers of the prompts of some groups, [groups], with replacement.

        Args:
            groups: how many.
            update: of the agent, which decides the draw together with the seed.
        """
        generator = np.random.default_rng([self.seed, update])
        return generator.choice(len(self.tiers), groups, p=self.probabilities)

    def observe(self, prompts: Sequence[int] | Numbers, success: Sequence[float] | Floats) -> None:
        """Take what came of some episodes.

        Args:
            prompts: [E] their numbers.
            success: [E] in [0, 1].

        Raises:
            ValueError: if the lengths differ, or a success is outside of [0, 1].
        """
        values = np.asarray(success, dtype=np.float64)
        tiers = self.tiers[np.asarray(prompts, dtype=np.int64)]
        if values.shape != tiers.shape or not ((values >= 0) & (values <= 1)).all():
            raise ValueError(
                f"success must be {len(tiers)} numbers from 0 to 1, one for each prompt, got "
                f"{values.shape} with {values.min(initial=0):g} to {values.max(initial=0):g}; "
                "scale the scores"
            )
        prior = 1 - self.memory
        self._successes *= self.memory
        self._trials *= self.memory
        self._successes += prior
        self._trials += 2 * prior
        np.add.at(self._successes, tiers, values)
        np.add.at(self._trials, tiers, 1.0)

    def state_dict(self) -> dict[str, Any]:
        """Return what was observed, as plain lists."""
        return {"successes": self._successes.tolist(), "trials": self._trials.tolist()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take what `state_dict` returned.

        Raises:
            ValueError: if it is of another number of tiers.
        """
        successes, trials = (np.array(state[name]) for name in ("successes", "trials"))
        if successes.shape != self._successes.shape or trials.shape != self._trials.shape:
            raise ValueError(
                f"the state must be of {len(self._trials)} tiers, got one of {len(trials)}"
            )
        self._successes, self._trials = successes, trials
