"""pass@k: the chance that one of k responses to a prompt solves it."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Protocol, runtime_checkable

from torch import Tensor

from rlhf_env.rollout import Rollout
from rlhf_env.task import Task


@runtime_checkable
class TellsSolved(Protocol):
    """A reward of problems that are solved or not, such as that of the task countdown."""

    def solved(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        """Return which responses solve their prompts, [B] bool."""
        ...


def pass_at_k(samples: int, solved: int, k: int) -> float:
    """Return the unbiased estimate of pass@k from n samples, c of which are right.

    1 − C(n − c, k) / C(n, k), the share of choices of k samples with a right one among them (Chen
    et al. 2021, arXiv:2107.03374, equation 1).

    Args:
        samples: n.
        solved: c, in [0, n].
        k: in [1, n].

    Raises:
        ValueError: if c or k is out of range.
    """
    if not 0 <= solved <= samples:
        raise ValueError(f"solved must be in [0, {samples}], the samples, got {solved}")
    if not 1 <= k <= samples:
        raise ValueError(f"k must be in [1, {samples}], the samples, got {k}; draw more samples")
    return 1.0 - math.comb(samples - solved, k) / math.comb(samples, k)


def pass_metrics(rollout: Rollout, task: Task) -> dict[str, float]:
    """Return ``pass_at_1``, ``pass_at_2``, ``pass_at_4``, … of a rollout, means over its prompts.

    k doubles up to the fewest responses that a prompt has. The result is empty where the task's
    reward does not say what is solved.

    Args:
        rollout: B episodes, several for each prompt if k is to exceed 1.
        task: whose reward judges.
    """
    if not isinstance(task.reward, TellsSolved) or not len(rollout):
        return {}
    by_prompt: dict[tuple[int, ...], list[bool]] = defaultdict(list)
    prompts = rollout.prompts()
    for prompt, found in zip(
        prompts, task.reward.solved(prompts, rollout.responses()).tolist(), strict=True
    ):
        by_prompt[tuple(prompt.tolist())].append(found)
    fewest = min(map(len, by_prompt.values()))
    sizes = [2**power for power in range(fewest.bit_length())]
    return {f"pass_at_{k}": _mean(by_prompt, k) for k in sizes}


def _mean(by_prompt: dict[tuple[int, ...], list[bool]], k: int) -> float:
    found = [pass_at_k(len(group), sum(group), k) for group in by_prompt.values()]
    return sum(found) / len(found)
