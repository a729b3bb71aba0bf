"""Noticing data whose chosen and rejected columns were exchanged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from rlhf_env.extras import importing
from rlhf_env.rewards.protocol import as_reward, score
from rlhf_env.rewards.training.elements import Element
from rlhf_env.rewards.training.objective import Agreement
from rlhf_env.rewards.training.pair_objectives import PairTarget, pair_agreement

with importing("rewards"):
    from scipy.stats import binomtest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# A sound reward is rarely this far below one half by chance.
_SIGNIFICANCE = 0.001


def swap_note(agreement: Agreement, judge: str) -> str | None:
    """Return a sentence if a judge prefers the rejected side more often than chance explains.

    Args:
        agreement: of the judge with the pairs.
        judge: its name in the sentence.
    """
    count = round(agreement.total)
    if not count:
        return None
    right = min(count, round(agreement.agreeing))
    if binomtest(right, count, alternative="less").pvalue >= _SIGNIFICANCE:
        return None
    return (
        f"{judge} prefers the chosen response in only {right} of {count} pairs, far fewer than "
        "half; chosen and rejected may be swapped"
    )


def reference_agreement(
    reference: Any, elements: Sequence[Element[PairTarget]], tokenizer: PreTrainedTokenizerBase
) -> Agreement:
    """Return how often a trusted reward agrees with the pairs.

    Args:
        reference: a reward, or a function of texts.
        elements: the pairs.
        tokenizer: of their ids.
    """
    prompts = [ids for element in elements for ids in element.prompts]
    responses = [ids for element in elements for ids in element.responses]
    scores = score(as_reward(reference, tokenizer), prompts, responses)
    parts = scores.split([len(element.responses) for element in elements])
    total = Agreement(agreeing=0.0, total=0.0)
    for part, element in zip(parts, elements, strict=True):
        total += pair_agreement(torch.as_tensor(part), element.target)
    return total
