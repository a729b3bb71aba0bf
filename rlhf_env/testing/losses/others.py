"""Checks of whitening, of the critic's loss and of the log-probabilities of tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from rlhf_env.testing.claims import CheckList, NotApplicable, expect
from rlhf_env.testing.losses.subject import TrainerLoss, far, plain, same

WHITEN = CheckList("whiten")
VALUE_LOSS = CheckList("value_loss")
TOKEN_LOGPROBS = CheckList("token_logprobs")

_WHITENED = {
    "population_std": [-1.278724, -0.697486, -0.116248, 0.464991, 1.627467],
    "sample_std": [-1.143726, -0.623850, -0.103975, 0.415900, 1.455651],
}
_MASK = torch.tensor([[True, True, True, False], [True, True, False, False]])


def _batch(padding: float) -> Tensor:
    rows = [[1.0, 2.0, 3.0, padding], [4.0, 6.0, padding, -padding]]
    return torch.tensor(rows, dtype=torch.float64)


@WHITEN.add("arXiv:2005.12729; openai/lm-human-preferences")
def it_whitens_by_the_deviation_that_it_says(whiten: TrainerLoss) -> str:
    """1, 2, 3, 4 and 6 become numbers of mean 0 and deviation 1."""
    found = whiten(values=_batch(0.0), mask=_MASK)[_MASK]
    names = [name for name, due in _WHITENED.items() if far(found, due) is None]
    expect(names and whiten.form in (None, *names), f"{plain(found)}, which is {names or 'none'}")
    return names[0]


@WHITEN.add("openai/lm-human-preferences; CarperAI/trlx#509")
def whitening_does_not_count_padding(whiten: TrainerLoss) -> None:
    """Numbers in the padding enter neither the mean nor the deviation."""
    usual = whiten(values=_batch(0.0), mask=_MASK)[_MASK]
    same(whiten(values=_batch(50.0), mask=_MASK)[_MASK], usual, "with 50 in the padding")


@WHITEN.add("huggingface/trl#6365; arXiv:2503.14476")
def equal_values_become_zeros(whiten: TrainerLoss) -> None:
    """Equal values are whitened to 0, although their deviation is 0."""
    values = torch.full((2, 3), 0.7, dtype=torch.float64)
    found = whiten(values=values, mask=torch.ones(2, 3, dtype=torch.bool))
    expect(found.isfinite().all() and found.abs().max() < 1e-2, plain(found))


@WHITEN.add("axolotl#3353")
def one_value_is_refused_or_finite(whiten: TrainerLoss) -> str:
    """A single value has no deviation: an error, or something finite."""
    mask = torch.tensor([[True, False, False]])
    try:
        found = whiten(values=torch.tensor([[2.0, 0.0, 0.0]]), mask=mask)[mask]
    except (ValueError, AssertionError) as refusal:
        return f"refused: {refusal}"
    expect(found.isfinite().all(), plain(found))
    return f"became {plain(found)}"


def _value_loss(
    loss: TrainerLoss, value: float, old: float, returned: float
) -> tuple[Tensor, Tensor]:
    values = torch.tensor([[value, 0.0]], dtype=torch.float64, requires_grad=True)
    fixed = torch.tensor([[old, 0.0]], dtype=torch.float64)
    returns = torch.tensor([[returned, -5.0]], dtype=torch.float64)
    mask = torch.tensor([[True, False]])
    found = loss(values=values, old_values=fixed, returns=returns, mask=mask).sum()
    (slope,) = torch.autograd.grad(found, values)
    return found.detach(), slope


@VALUE_LOSS.add("arXiv:2005.12729; openai/baselines ppo2")
def it_clips_around_the_old_value(loss: TrainerLoss) -> str:
    """V 1.5, old value 1 and return 2 give max(0.25, 0.64), halved or not, for a clip of 0.2."""
    found, _ = _value_loss(loss, 1.5, 1.0, 2.0)
    due = [0.32, 0.64] if loss.clip is not None else [0.125, 0.25]
    expect(
        any(far(found, value) is None for value in due), f"{plain(found)}, expected one of {due}"
    )
    return plain(found)


@VALUE_LOSS.add("arXiv:2005.12729")
def near_the_old_value_it_pulls_to_the_return(loss: TrainerLoss) -> None:
    """Inside the clip the slope points from the value to the return."""
    _, slope = _value_loss(loss, 1.1, 1.0, 2.0)
    expect(slope[0, 0] < 0, f"slope {plain(slope)} where the value is below the return")
    _, slope = _value_loss(loss, 0.9, 1.0, 0.0)
    expect(slope[0, 0] > 0, f"slope {plain(slope)} where the value is above the return")


@VALUE_LOSS.add("ROLL#447; alpaca-rlhf#9")
def the_critic_learns_nothing_of_padding(loss: TrainerLoss) -> None:
    """A place without a token gets no gradient."""
    _, slope = _value_loss(loss, 1.5, 1.0, 2.0)
    expect(slope[0, 1] == 0, f"slope {plain(slope)} of a token and of padding")


_LOGITS = [2.0, 1.0, 0.0]
_NARROW = [12.3, 11.9, 3.0]


@TOKEN_LOGPROBS.add("prime-rl#1525; CarperAI/trlx#582")
def each_token_has_its_own_probability(logprobs: TrainerLoss) -> None:
    """Logits of 2, 1 and 0 give -0.407606, -1.407606 and -2.407606."""
    logits = torch.tensor([[_LOGITS, _LOGITS, _LOGITS]], dtype=torch.float64)
    found = logprobs(logits=logits, tokens=torch.tensor([[0, 1, 2]]))
    same(found, [[-0.407606, -1.407606, -2.407606]], "log-probabilities")


@TOKEN_LOGPROBS.add("huggingface/trl#7084")
def the_softmax_of_16_bit_logits_is_taken_in_32(logprobs: TrainerLoss) -> None:
    """bfloat16 logits of 12.3, 11.9 and 3 give what float32 makes of their rounded values."""
    logits = torch.tensor([[_NARROW, _NARROW]], dtype=torch.bfloat16)
    found = logprobs(logits=logits, tokens=torch.tensor([[0, 1]]))
    same(found, [[-0.498189, -0.935689]], "log-probabilities of bfloat16 logits", atol=1e-3)


@TOKEN_LOGPROBS.add("huggingface/trl#4763; axolotl#3910")
def large_logits_stay_finite(logprobs: TrainerLoss) -> None:
    """Logits of +-10,000 give finite log-probabilities."""
    logits = torch.tensor([[[1e4, -1e4, 0.0], [1e4, 1e4, 0.0]]])
    found = logprobs(logits=logits, tokens=torch.tensor([[0, 1]]))
    same(found, [[0.0, -0.693147]], "log-probabilities", atol=1e-2)


@TOKEN_LOGPROBS.add("arXiv:1707.06347; torch.nn.functional.cross_entropy")
def its_gradient_is_one_hot_minus_the_probabilities(logprobs: TrainerLoss) -> None:
    """The slope of log pi(a) in the logits is 1 at a, less the probabilities."""
    logits = torch.tensor([[_LOGITS, _LOGITS]], dtype=torch.float64, requires_grad=True)
    # Some functions write their gradient over the logits, which a leaf does not allow.
    found = logprobs(logits=logits + 0.0, tokens=torch.tensor([[1, 1]])).sum()
    if not found.requires_grad:
        raise NotApplicable("it has no gradient")
    (slope,) = torch.autograd.grad(found, logits)
    due = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64) - torch.tensor(
        _LOGITS
    ).double().softmax(0)
    same(slope, due.expand(1, 2, 3), "the slope")
