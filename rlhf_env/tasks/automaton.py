"""Tasks whose exact answers are known at any horizon: score and reference depend on a state only.

The state is that of a deterministic automaton which reads the response. `rlhf_env.exact` solves
these tasks by dynamic programming; their families are in `rlhf_env.tasks.families`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from rlhf_env.defaults import POLICIES
from rlhf_env.exact.automaton import EOS, Automaton
from rlhf_env.task import Task
from rlhf_env.tasks.automaton_corrections import AutomatonConfig
from rlhf_env.tasks.automaton_lm import AutomatonLM
from rlhf_env.tasks.automaton_tables import StateRows, StateScores, check_horizon, make_automaton
from rlhf_env.tasks.table import table_tokenizer

# Of the transformer's weights; the last layer is zero.
_SEED = 0


class AutomatonReward:
    """The score of the state in which a response ends; also of the states on the way."""

    def __init__(self, automaton: Automaton) -> None:
        """Take the automaton whose score is paid."""
        self.automaton = automaton

    def __call__(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        """Return one score per response, [B] float64."""
        return self._scores(prompts, responses)[:, -1]

    def prefix_scores(self, prompts: list[Tensor], responses: list[Tensor]) -> list[Tensor]:
        """Return the score of every prefix, [len + 1] float64 per response; index 0 is ()."""
        scores = self._scores(prompts, responses)
        return [row[: len(ids) + 1] for row, ids in zip(scores, responses, strict=True)]

    def _scores(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        """Return the score before the first and after each token, [B, L + 1]."""
        if not responses:
            return torch.zeros(0, 1, dtype=torch.float64)
        starts = torch.tensor([self.automaton.start_of(prompt) for prompt in prompts])
        tokens = pad_sequence([ids.cpu() for ids in responses], True, EOS)
        return self.automaton.score[self.automaton.states(starts, tokens)]


def automaton_task(
    next_state: StateRows,
    reference_logits: StateRows,
    score: StateScores,
    horizon: int,
    *,
    start: int | Sequence[int] = 0,
    kl_coef: float = 0.05,
    policy: str = "table",
    name: str = "automaton",
) -> Task:
    """Build a task from an automaton that reads the response.

    Token 0 is EOS. A response is paid the score of the state in which it ends, by EOS (which does
    not change the state) or by reaching the horizon. There is one empty prompt, for which the
    single id 0 is used, unless the prompts have their own tables or starts: then prompt i is
    its number in base V.

    Args:
        next_state: [S, V] states after each token, an array or ``f(state) -> V states``; [P, S, V]
            if P prompts have automata of their own. The column of EOS is not read.
        reference_logits: [S, V] or [P, S, V], an array or ``f(state) -> V numbers``.
        score: [S] or [P, S], an array or ``f(state) -> number``.
        horizon: T >= 1 and at most 1,000,000, the longest response in tokens.
        start: the state before the first token; P states give P prompts.
        kl_coef: beta, the weight of the KL penalty.
        policy: what copies of the reference learn, from 0 on, to add to its logits: "table" (V
            numbers for each state), "timed_table" (for each time and state, so that the optimum is
            among the policies) or "transformer" (a function of the whole prefix).
        name: how reports call the task.

    Raises:
        ValueError: if a table has the wrong shape or holds what cannot be used, or a setting is
            out of range.
    """
    if policy not in POLICIES:
        raise ValueError(f"policy must be one of {list(POLICIES)}, got {policy!r}")
    check_horizon(horizon)
    horizon = int(horizon)
    automaton = make_automaton(next_state, reference_logits, score, start)
    return Task(
        name=name,
        tokenizer=table_tokenizer(automaton.vocab_size),
        reference=_reference(automaton, horizon, policy),
        reward=AutomatonReward(automaton),
        prompts=automaton.prompts(),
        max_prompt_tokens=automaton.prompt_length,
        max_new_tokens=horizon,
        kl_coef=kl_coef,
    )


def _reference(automaton: Automaton, horizon: int, policy: str) -> AutomatonLM:
    config = AutomatonConfig(
        vocab_size=automaton.vocab_size,
        horizon=horizon,
        num_states=automaton.num_states,
        num_prompts=len(automaton.starts),
        policy=policy,
    )
    # The weights are the same in every process, and no generator of the caller's is used up.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        model = AutomatonLM(config)
    model.trunk.next_state.copy_(automaton.next_state)
    model.trunk.reference_logits.copy_(automaton.reference_logits)
    model.trunk.starts.copy_(automaton.starts)
    return model
