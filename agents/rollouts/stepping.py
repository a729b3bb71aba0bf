"""Rollouts through ``step``: for foreign wrappers, foreign agents, and as the check on decoding."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from torch import Tensor

from agents.policy import Policy
from agents.rollouts.contract import ActingAgent, check_logprobs, checked_actions
from agents.rollouts.sampling_plan import SamplingPlan
from agents.rollouts.token_by_token import ask_again, can_be_asked_again
from rlhf_env.mdp.transition import ends_turns
from rlhf_env.rollout import Rollout
from rlhf_env.vector_env import RLHFVectorEnv


def step_through(
    envs: VectorEnv[Any, Any, Any], policy: Policy | ActingAgent, plan: SamplingPlan
) -> Rollout:
    """Return the drawn episodes, each action taken by ``envs.step``.

    The reward of a decision of several tokens is at its last token, and so are its reference
    log-probability and, where the agent gives only one per decision, its log-probability. A reward
    that foreign wrappers changed without saying so in ``info`` is the term "other".
    """
    tape = RolloutRecorder(envs, plan)
    while tape.is_active.any():
        if isinstance(policy, Policy):
            actions, logprobs = tape.plan(policy)
        else:
            actions, logprobs = tape.ask(policy)
        tape.record(envs.step(tape.as_action(actions, logprobs)), logprobs)
    return tape.rollout()


class RolloutRecorder:
    """E episodes being recorded in N rows."""

    def __init__(self, envs: VectorEnv[Any, Any, Any], plan: SamplingPlan) -> None:
        """Make the record of the episodes of a plan, which begin in order of their number."""
        self.envs, self.sampling = envs, plan
        self.base: RLHFVectorEnv = envs.unwrapped  # type: ignore[assignment]
        count, width = len(plan.prompts), self.base.mdp.max_tokens
        self.starts = np.array([len(prompt) for prompt in plan.prompts])
        self.lengths = self.starts.copy()
        self.tokens = np.full((count, width), self.base.task.pad_id)
        for row, prompt in zip(self.tokens, plan.prompts, strict=True):
            row[: len(prompt)] = _array(prompt)
        self.fields = {
            name: np.zeros((count, width)) for name in ("logprobs", "ref_logprobs", "rewards")
        }
        self.terms: dict[str, np.ndarray] = {}
        self.decision = np.full((count, width), -1)
        self.is_action = np.zeros((count, width), dtype=bool)
        self.next_decision = np.zeros(count, dtype=np.int64)
        self.score, self.terminated = np.zeros(count), np.zeros(count, dtype=bool)
        self.episode = np.arange(envs.num_envs)
        self.is_active = self.episode < count
        self.started = int(self.is_active.sum())
        self.observation = self._reset(np.ones(envs.num_envs, dtype=bool))

    def ask(self, agent: ActingAgent) -> tuple[np.ndarray, np.ndarray]:
        """Return an agent's tokens, [N] or [N, n], and their log-probabilities.

        Where an action is several tokens and the agent answers with one per row, it is asked again
        after each of them, until the action is full.
        """
        space, task = _token_space(self.envs.single_action_space), self.base.task
        may_repeat = can_be_asked_again(self.observation, space, task.vocab_size)
        answer = agent.act(self.observation)
        first = checked_actions(answer, space, self.envs.num_envs, one_token_too=may_repeat)
        if first[0].ndim > 1 or not may_repeat:
            return first
        mdp = self.base.mdp
        ends = (mdp.lengths + mdp.max_new_tokens - mdp.response_lengths).cpu().numpy()
        return ask_again(agent, self.observation, first, self._tokens_per_action(), task, ends)

    def plan(self, policy: Policy) -> tuple[np.ndarray, np.ndarray]:
        """Sample up to as many tokens per row as one action holds: [N, n], and log pi of each."""
        device = self.base.mdp.device
        tokens, lengths = self.base.mdp.tokens.clone(), self.base.mdp.lengths.clone()
        episode = np.where(self.is_active, self.episode, 0)
        taken = self.base.mdp.response_lengths
        rows = torch.arange(len(tokens), device=device)
        horizon = self.base.mdp.max_new_tokens
        actions, logprobs = [], []
        for ahead in range(self._tokens_per_action()):
            step = (taken + ahead).clamp(max=horizon - 1)
            uniforms = self.sampling.uniforms_at(torch.as_tensor(episode).to(device), step)
            # Rows that are full, idle or over are sampled all the same; the result is not used.
            chosen, logprob = policy.sample(tokens, lengths, uniforms)
            actions.append(chosen)
            logprobs.append(logprob)
            tokens[rows, lengths.clamp(max=tokens.shape[1] - 1)] = chosen
            lengths = (lengths + 1).clamp(max=tokens.shape[1])
        return torch.stack(actions, 1).cpu().numpy(), torch.stack(logprobs, 1).cpu().numpy()

    def as_action(self, actions: Any, logprobs: Any) -> Any:
        """Return what ``envs.step`` expects: one number per row, or a dict that holds log pi."""
        space, count = self.envs.single_action_space, self.envs.num_envs
        if isinstance(_token_space(space), spaces.Discrete):
            actions = _array(actions).reshape(count)
            logprobs = _array(logprobs).reshape(count)
        if not isinstance(space, spaces.Dict):
            return actions
        return {name: actions if name.startswith("token") else logprobs for name in space}

    def record(self, result: tuple[Any, ...], logprobs: Any) -> None:
        """Record one vector step, and start new episodes in the rows that ended."""
        observation, rewards, terminated, truncated, info = result
        given = _array(logprobs).astype(np.float64).reshape(self.envs.num_envs, -1)
        ended = _array(terminated) | _array(truncated)
        for row in self.is_active.nonzero()[0].tolist():
            text, told = self._final(observation, info, row)
            at = self._new_actions(info, row, len(text))
            self._record_row(row, text, at, told, float(rewards[row]), given[row])
            if ended[row]:
                episode = self.episode[row]
                self.terminated[episode] = bool(terminated[row])
                self.score[episode] = told["score"][row]
        self.observation = self._refill(observation, ended)

    def rollout(self) -> Rollout:
        """Return the finished record."""
        columns = np.arange(int(self.lengths.max()))
        device = self.base.mdp.device

        def tensor(array: np.ndarray) -> Tensor:
            cut = array[:, : len(columns)] if array.ndim == 2 else array
            found = torch.as_tensor(cut, device=device)
            return found.float() if found.is_floating_point() else found

        tokens, is_action = tensor(self.tokens), tensor(self.is_action)
        return Rollout(
            tokens=tokens,
            is_action=is_action,
            **{name: tensor(field) for name, field in self.fields.items()},
            reward_terms={name: tensor(term) for name, term in self.terms.items()},
            score=tensor(self.score),
            terminated=tensor(self.terminated),
            group=self.sampling.group.to(device),
            prompt_index=self.sampling.prompt_index.to(device),
            decision=tensor(self.decision),
            ends_turn=ends_turns(tokens, is_action, self.base.task),
            kl_coef=tensor(np.full(len(self.score), self.base.kl_coef)),
            includes_policy_logprob=tensor(
                np.full(len(self.score), self.base.mdp.options.includes_policy_logprob)
            ),
        )

    def _record_row(
        self,
        row: int,
        text: np.ndarray,
        at: np.ndarray,
        told: dict[str, Any],
        reward: float,
        logprobs: np.ndarray,
    ) -> None:
        """Record what one row said, and was told, in a step.

        Args:
            row: its number.
            text: all of its tokens.
            at: the positions of the actions that it took.
            told: the info, one entry per row.
            reward: of the step.
            logprobs: of the actions, or of all of them together.
        """
        episode = self.episode[row]
        begin, end, last = self.lengths[episode], len(text), at[-1]
        self.tokens[episode, begin:end] = text[begin:end]
        self.is_action[episode, at] = True
        used = logprobs[: len(at)] if len(logprobs) >= len(at) else logprobs[:1]
        check_logprobs(used, int(episode))
        self.fields["logprobs"][episode, at[-len(used) :]] = used
        self.fields["ref_logprobs"][episode, last] = told["ref_logprob"][row]
        self.fields["rewards"][episode, last] = reward
        terms = {
            name: float(value[row])
            for name, value in told["reward_terms"].items()
            if not name.startswith("_")
        }
        other = reward - sum(terms.values())
        if abs(other) > 1e-5 * max(1.0, abs(reward)):
            terms["other"] = other
        for name, value in terms.items():
            self.terms.setdefault(name, np.zeros(self.tokens.shape))[episode, last] = value
        self.decision[episode, at] = self.next_decision[episode]
        self.next_decision[episode] += 1
        self.lengths[episode] = end

    def _new_actions(self, info: dict[str, Any], row: int, end: int) -> np.ndarray:
        """Return the positions of the actions that a row has just taken, of a text so long."""
        begin, dialogue = self.lengths[self.episode[row]], self.base.mdp.dialogue
        if dialogue is None:
            return np.arange(int(begin), end)
        was_reset = "final_obs" in info and info["_final_obs"][row]
        masks = dialogue.former_is_action if was_reset else dialogue.is_action
        return begin + masks[row, begin:end].cpu().numpy().nonzero()[0]

    def _final(
        self, observation: Any, info: dict[str, Any], row: int
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Return the tokens of a row, and the info, as they were before any reset."""
        if "final_obs" in info and info["_final_obs"][row]:
            return _text(info["final_obs"][row]), info["final_info"]
        if isinstance(observation, dict) and "input_ids" in observation:
            return _text({name: array[row] for name, array in observation.items()}), info
        mdp = self.base.mdp
        return mdp.tokens[row, : mdp.lengths[row]].cpu().numpy(), info

    def _refill(self, observation: Any, ended: np.ndarray) -> Any:
        finished = self.is_active & ended
        for row in finished.nonzero()[0].tolist():
            if self.started < len(self.sampling.prompts):
                self.episode[row] = self.started
                self.started += 1
            else:
                self.is_active[row] = False
        refilled = finished & self.is_active
        disabled = self.base.autoreset_mode == AutoresetMode.DISABLED
        due = ended if disabled else refilled
        if not self.is_active.any() or not due.any():
            return observation
        return self._reset(due)

    def _reset(self, rows: np.ndarray) -> Any:
        # Idle rows need some prompt; their episodes are not used.
        episode = np.where(self.is_active, self.episode, 0)
        prompts = [self.sampling.prompts[e].tolist() for e in episode]
        options = {"reset_mask": rows, "prompt": prompts}
        if (seeds := self.sampling.environment_seeds) is None:
            return self.envs.reset(options=options)[0]
        return self.envs.reset(seed=[seeds[e] for e in episode], options=options)[0]  # type: ignore[arg-type]

    def _tokens_per_action(self) -> int:
        space, vocab_size = _token_space(self.envs.single_action_space), self.base.task.vocab_size
        if not isinstance(space, spaces.Discrete):
            return int(space.shape[0])  # type: ignore[index]
        if space.n != vocab_size:
            raise ValueError(
                f"a Policy chooses among {vocab_size} tokens, got actions {space}; leave out the "
                "wrapper that changes them, or give an agent with act(observation)"
            )
        return 1


def _token_space(space: Any) -> spaces.Space[Any]:
    """Return the space of the tokens in an action, with or without a log-probability beside it."""
    if not isinstance(space, spaces.Dict):
        return space
    return next(part for name, part in space.items() if name.startswith("token"))


def _text(observation: Any) -> np.ndarray:
    """Return the token ids that a row saw, without padding.

    Raises:
        ValueError: if a wrapper shows something else, and the row was reset meanwhile.
    """
    if not isinstance(observation, dict) or "input_ids" not in observation:
        raise ValueError(
            "what a row held at its end is not known: a wrapper shows something else than tokens, "
            'and autoreset_mode="SameStep" has reset the row; use "NextStep"'
        )
    return _array(observation["input_ids"])[: int(_array(observation["attention_mask"]).sum())]


def _array(values: Any) -> np.ndarray:
    """Return an array of what may be an array, a list or a tensor on any device."""
    return values.cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
