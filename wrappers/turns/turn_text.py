"""One step is one turn, and both sides speak text."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from gymnasium.error import ResetNeeded
from gymnasium.utils import RecordConstructorArgs

from rlhf_env.mdp.spaces import wants_logprob
from rlhf_env.rollout import Rollout
from wrappers.macro.span import TURN, Span
from wrappers.macro.steps import take_tokens
from wrappers.stack.order import GRANULARITY, check_order, token_mdp
from wrappers.turns.text_space import TokenText
from wrappers.turns.turn_ids import turn_ids


class TurnText(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Say a whole turn, and be told what the environment answers; both are texts.

    ``reset`` returns the prompt. An action is a text, or token ids where a text would not encode to
    them. The token that ends the turn is added if it is missing; where EOS ends the episode and not
    just the turn, a text that ends with EOS spelled out says so. The observation is the
    environment's answer alone, "" if it says nothing. The reward is the sum of the tokens' rewards,
    each reward term likewise.

    A turn that has more tokens than the episode has left is cut off there, which ends the episode
    by length. ``info["tokens"]`` and ``info["environment_tokens"]`` are the ids that the two sides
    have said, ``info["turn"]`` counts from 0.

    Where nobody answers, a response is one turn; if ``end_of_turn_id`` marks lines, each line is.

    Example:
        >>> import gymnasium as gym, rlhf_env
        >>> from wrappers.turns import TurnText
        >>> env = TurnText(gym.make("RLHF-v0", task="toy15", kl_coef=0.0))
        >>> prompt, info = env.reset(seed=0)
        >>> answer, reward, terminated, truncated, info = env.step("1")
        >>> info["tokens"], reward, terminated, info["finish_reason"]
        ([1, 0], 1.25, True, 'eos')
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        """Wrap an environment.

        Args:
            env: an ``RLHF-v0`` whose steps are single tokens.

        Raises:
            ValueError: if its actions are not token ids alone, or the order of wrappers makes no
                sense.
        """
        mdp = check_order(env, "TurnText", GRANULARITY)
        if wants_logprob(mdp):
            raise ValueError(
                'TurnText has no log-probabilities for kl_penalty="sampled", got actions with '
                'them; use "reference", or pass policy='
            )
        if env.action_space is not env.unwrapped.action_space:
            raise ValueError(
                f"TurnText says token ids, got a wrapper that changes actions to "
                f"{env.action_space}; leave it out"
            )
        RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        self.span = Span.of(None, TURN, mdp)
        self.tokens_per_action = self.span.size
        task = mdp.task
        heard = max(task.max_prompt_tokens, task.max_environment_tokens)
        self.observation_space = TokenText(heard, task.tokenizer, task.turn_end_id)
        self.action_space = TokenText(self.span.size, task.tokenizer, task.turn_end_id)
        self._turn = self._length = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Start an episode; returns the prompt, and its ids as ``info["environment_tokens"]``."""
        _, info = self.env.reset(seed=seed, options=options)
        mdp = token_mdp(self.env)
        self._turn, self._length = 0, int(mdp.lengths[0])
        prompt = mdp.tokens[0, : self._length]
        return mdp.task.decode(prompt), {**info, "environment_tokens": prompt.tolist()}

    def step(self, action: Any) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Say a turn.

        Raises:
            ValueError: if the action is not one turn, or the tokenizer does not know some of it;
                nothing was said then.
            gymnasium.error.ResetNeeded: if no episode is open, or an error broke off the turn
                before this one.
        """
        mdp = token_mdp(self.env)
        if mdp.is_open[0] and int(mdp.lengths[0]) != self._length:
            raise ResetNeeded("the last turn was broken off by an error; call reset() first")
        before, spoken = self._length, int(mdp.response_lengths[0])
        left = mdp.max_new_tokens - spoken
        ids = turn_ids(action, mdp.task)[:left] if mdp.is_open[0] else []
        padded = ids + [mdp.task.eos_id] * (self.span.size - len(ids))
        _, reward, terminated, truncated, info = take_tokens(
            self.env, padded, self.span.size, self.span.are_over
        )
        said = before + int(mdp.response_lengths[0]) - spoken
        self._length = int(mdp.lengths[0])
        answer = mdp.tokens[0, said : self._length]
        info["tokens"] = mdp.tokens[0, before:said].tolist()
        info["environment_tokens"] = answer.tolist()
        info["turn"] = float(self._turn)
        self._turn += 1
        return mdp.task.decode(answer), reward, terminated, truncated, info

    def rollout(self, rollout: Rollout) -> Rollout:
        """Return the episodes with the turn that each token belongs to."""
        return rollout.replace(decision=self.span.decisions(rollout, token_mdp(self.env)))
