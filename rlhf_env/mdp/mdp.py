"""The Markov decision process: N episodes side by side, independent of Gymnasium's API.

State is prompt plus prefix, the action a token, the transition an append. What a step pays is in
`rlhf_env.mdp.transition`; `TokenMDP` keeps the rows and calls the reference and the reward model.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn

from rlhf_env.engine.language_model import LanguageModel, token_logprobs
from rlhf_env.engine.scoring import score_rollout
from rlhf_env.mdp.dialogue import Dialogue
from rlhf_env.mdp.options import Options
from rlhf_env.mdp.policy_kl import policy_kl, rollout_policy_kl
from rlhf_env.mdp.transition import (
    StepResult,
    ends_text,
    ends_turns,
    finish_reasons,
    kl_term,
    paid_score,
)
from rlhf_env.rewards.protocol import score
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task


class TokenMDP:
    """N rows of prompt + prefix that share one reference, one reward model and one cache."""

    def __init__(self, task: Task, options: Options, num_rows: int) -> None:
        """Make N rows, none of which holds an episode yet.

        Raises:
            ValueError: if prompt and response do not fit the reference's context window.
        """
        self.task = task
        self.options = options
        self.kl_coef = task.kl_coef if options.kl_coef is None else options.kl_coef
        self.temperature = 1.0
        self.max_new_tokens = options.max_new_tokens or task.max_new_tokens
        self.max_tokens = task.max_prompt_tokens + self.max_new_tokens + task.max_environment_tokens
        self._check_context_window()
        device, dtype = options.resolve_device(), options.resolve_dtype()
        self.reference = LanguageModel(_placed(task.reference, device, dtype), task.vocab_size)
        self.device = device
        self.tokens = torch.full(
            (num_rows, self.max_tokens), task.pad_id, dtype=torch.int64, device=device
        )
        self.prompt_lengths = torch.ones(num_rows, dtype=torch.int64, device=device)
        self.lengths = torch.ones(num_rows, dtype=torch.int64, device=device)
        self.prompt_index = torch.zeros(num_rows, dtype=torch.int64, device=device)
        self.is_open = torch.zeros(num_rows, dtype=torch.bool, device=device)
        talks = task.respond is not None
        self.reference.engine.extends = talks
        self.dialogue = Dialogue(task, self.max_new_tokens, self.tokens) if talks else None

    @property
    def attention_mask(self) -> Tensor:
        """[N, L] bool, True at prompt and prefix."""
        return torch.arange(self.max_tokens, device=self.device) < self.lengths[:, None]

    @property
    def response_lengths(self) -> Tensor:
        """[N] actions so far."""
        if self.dialogue is not None:
            return self.dialogue.actions.clone()
        return self.lengths - self.prompt_lengths

    def response(self, row: int) -> Tensor:
        """Return the response so far of a row up to its last action, fresh memory."""
        end = self.lengths[row] if self.dialogue is None else self.dialogue.last_action_end(row)
        return self.tokens[row, self.prompt_lengths[row] : end].clone()

    def history(self, row: int) -> Tensor:
        """Return all that was said since the prompt of a row, fresh memory.

        In a conversation it may end with the environment's answer, which `response` does not.
        """
        return self.tokens[row, self.prompt_lengths[row] : self.lengths[row]].clone()

    def is_action(self, row: int) -> Tensor:
        """Return which tokens of `history` the agent chose, [H] bool."""
        if self.dialogue is not None:
            said = self.dialogue.is_action[row, self.prompt_lengths[row] : self.lengths[row]]
            return said.clone()
        count = int(self.response_lengths[row])
        return torch.ones(count, dtype=torch.bool, device=self.device)

    def start(
        self, row: int, prompt: Tensor, prompt_index: int, generator: np.random.Generator
    ) -> None:
        """Open an episode in a row; its former one is forgotten.

        Args:
            row: its number.
            prompt: [P] ids.
            prompt_index: the prompt's number in the task.
            generator: where the environment's side of a conversation draws from.
        """
        self.tokens[row] = self.task.pad_id
        self.tokens[row, : len(prompt)] = prompt.to(self.device)
        self.prompt_lengths[row] = self.lengths[row] = len(prompt)
        self.prompt_index[row] = prompt_index
        self.is_open[row] = True
        self.reference.engine.forget_row(row)
        if self.dialogue is not None:
            self.dialogue.start(row, len(prompt), generator)

    def step(self, actions: Tensor, logprobs: Tensor | None, rows: Tensor) -> StepResult:
        """Append one token to some rows and compute its reward.

        Args:
            actions: [N] token ids; ignored where ``rows`` is False.
            logprobs: [N] log pi(a|s), for ``kl_penalty="sampled"`` without a policy.
            rows: [N] bool, the rows that take part; their episodes are open.

        Raises:
            ValueError: if a model or the reward answers with a number that is not finite.
        """
        logits = self.reference.engine.logits_view(self.tokens, self.lengths)
        ref_logprobs = token_logprobs(logits, actions, self.temperature)
        self._check_finite(ref_logprobs, rows, "the reference gave log-probability")
        kl = self._step_kl(actions, logprobs, ref_logprobs, logits)
        self._check_finite(kl, rows, "the policy gave a kl of")
        is_finished = rows & ends_text(actions, self.task)
        answers = {} if self.dialogue is None else self.dialogue.answers(actions, rows)
        if answers:
            is_finished[list(answers)] = False
        ended = rows & (is_finished | (self.response_lengths + 1 == self.max_new_tokens))
        truncated = ended & ~is_finished & (self.options.length_limit == "bootstrap")
        scores = self._scores(actions, ended & ~truncated)
        turn = None if self.dialogue is None else self.dialogue.turns.clone()
        # Models, reward and respond are called before the state changes: if one raises, no step
        # is taken.
        self._append(actions, rows, answers)
        self.is_open &= ~ended
        return StepResult(
            ref_logprobs=torch.where(rows, ref_logprobs, 0.0),
            score_term=torch.where(ended, paid_score(scores, is_finished, self.options), 0.0),
            kl_penalty=torch.where(rows, -self.kl_coef * kl, 0.0),
            score=scores,
            ended=ended,
            finish_reason=finish_reasons(actions, ended, is_finished, self.task),
            truncated=truncated,
            turn=turn,
        )

    def evaluate(self, rollout: Rollout) -> Rollout:
        """Return finished episodes with the references' log-probabilities and all rewards.

        This is the whole-rollout path: one teacher-forced pass instead of a step per token (but
        ``options.policy`` is called at every step); its rewards equal those of stepping. Only
        ``tokens``, ``is_action`` and, for ``kl_penalty="sampled"``, ``logprobs`` are read.
        """
        ref_logprobs = score_rollout(
            self.reference, rollout.tokens, rollout.is_action, self.temperature
        )
        last = rollout.last_action
        is_finished = ends_text(rollout.tokens[last], self.task)
        truncated = ~is_finished & (self.options.length_limit == "bootstrap")
        scores = torch.zeros(len(rollout), device=self.device)
        if not truncated.all():
            scores[~truncated] = self._score_rows(rollout.tokens, rollout, ~truncated)
        kl = torch.where(rollout.is_action, self._rollout_kl(rollout, ref_logprobs), 0.0)
        terms = {
            "score": last * paid_score(scores, is_finished, self.options)[:, None],
            "kl": -self.kl_coef * kl,
        }
        return rollout.replace(
            ref_logprobs=ref_logprobs,
            reward_terms=terms,
            rewards=terms["score"] + terms["kl"],
            score=scores,
            terminated=~truncated,
            ends_turn=ends_turns(rollout.tokens, rollout.is_action, self.task),
            kl_coef=torch.full_like(scores, self.kl_coef),
            includes_policy_logprob=torch.full_like(
                truncated, self.options.includes_policy_logprob
            ),
        )

    def _append(self, actions: Tensor, rows: Tensor, answers: dict[int, Tensor]) -> None:
        if self.dialogue is not None:
            self.dialogue.add(actions, rows, answers)
            self.lengths = torch.where(rows, self.dialogue.lengths, self.lengths)
            return
        # A row that does not take part may be full: it writes its own last token again.
        at = self.lengths.clamp(max=self.max_tokens - 1)[:, None]
        held = self.tokens.gather(1, at)
        self.tokens.scatter_(1, at, torch.where(rows[:, None], actions[:, None], held))
        self.lengths += rows

    def _step_kl(
        self, actions: Tensor, logprobs: Tensor | None, ref_logprobs: Tensor, logits: Tensor
    ) -> Tensor:
        if self.options.policy is None:
            return kl_term(ref_logprobs, logprobs)
        scaled = logits / self.temperature
        return policy_kl(self.options, self.tokens, self.lengths, actions, scaled, self.temperature)

    def _rollout_kl(self, rollout: Rollout, ref_logprobs: Tensor) -> Tensor:
        if self.options.policy is None:
            is_sampled = self.options.kl_penalty == "sampled"
            return kl_term(ref_logprobs, rollout.logprobs if is_sampled else None)
        model, vocab_size = self.reference.model, self.task.vocab_size
        return rollout_policy_kl(self.options, rollout, model, vocab_size, self.temperature)

    def _scores(self, actions: Tensor, rows: Tensor) -> Tensor:
        """[N] the scores of some rows' responses with their last action; 0 elsewhere."""
        scores = torch.zeros(len(rows), device=self.device)
        numbers = rows.nonzero().flatten().tolist()
        if numbers:
            prompts = [self.tokens[row, : self.prompt_lengths[row]] for row in numbers]
            responses = [torch.cat([self.history(row), actions[row : row + 1]]) for row in numbers]
            scores[rows] = score(self.task.reward, prompts, responses).to(self.device)
        return scores

    def _score_rows(self, tokens: Tensor, rollout: Rollout, rows: Tensor) -> Tensor:
        numbers = rows.nonzero().flatten().tolist()
        prompts, responses = rollout.prompts(), rollout.responses()
        answer = score(
            self.task.reward, [prompts[i] for i in numbers], [responses[i] for i in numbers]
        )
        return answer.to(tokens.device)

    def _check_finite(self, values: Tensor, rows: Tensor, found: str) -> None:
        bad = rows & ~values.isfinite()
        if bad.any():
            row = int(bad.nonzero()[0])
            raise ValueError(
                f"{found} {float(values[row])} to the action of row {row} at step "
                f"{int(self.response_lengths[row])}, expected a finite number; "
                "check the model's weights, or forbid tokens that it cannot produce"
            )

    def _check_context_window(self) -> None:
        window = getattr(self.task.reference.config, "max_position_embeddings", None)
        if window is not None and self.max_tokens > window:
            parts = {
                "max_prompt_tokens": self.task.max_prompt_tokens,
                "max_new_tokens": self.max_new_tokens,
                "max_environment_tokens": self.task.max_environment_tokens,
            }
            used = {name: count for name, count in parts.items() if count}
            raise ValueError(
                f"{' + '.join(used)} = {' + '.join(map(str, used.values()))} exceeds the "
                f"reference's context window of {window}; lower one of them"
            )


def _placed(model: nn.Module, device: torch.device, dtype: torch.dtype | None) -> nn.Module:
    """Return the model itself if it is where and what it should be, else a copy that is."""
    parameter = next(model.parameters())
    wanted = dtype or parameter.dtype
    if (parameter.device.type, parameter.dtype) == (device.type, wanted):
        return model
    return copy.deepcopy(model).to(device=device, dtype=wanted)
