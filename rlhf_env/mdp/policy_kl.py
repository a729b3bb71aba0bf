"""kl_t where the environment was given the policy: for one step, or along whole episodes.

The estimators and divergences themselves are in `rlhf_env.kl`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rlhf_env.engine.engine import Engine
from rlhf_env.kl import exact_kl, k1
from rlhf_env.mdp.options import Options
from rlhf_env.rollout import Rollout


def policy_kl(
    options: Options,
    tokens: Tensor,
    lengths: Tensor,
    actions: Tensor,
    ref_logits: Tensor,
    temperature: float,
) -> Tensor:
    """Return kl_t of one step by calling ``options.policy``.

    Args:
        options: the policy, and whether the penalty is "sampled" or "exact".
        tokens: [N, L] the texts before the step, padded on the right.
        lengths: [N] how many of their tokens count.
        actions: [N] the tokens chosen.
        ref_logits: [N, V] of the reference, divided by ``temperature`` already.
        temperature: divides the policy's logits.

    Returns:
        [N] log pi(a|s) - log pi_ref(a|s), or KL(pi(.|s) || pi_ref(.|s)), in nats.

    Raises:
        ValueError: if the policy does not answer with logits [N, V].
    """
    assert options.policy is not None, "the caller asks only where there is a policy"
    mask = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]
    with torch.no_grad():
        answer = options.policy(tokens.clone(), mask.long())
    logits = _checked(answer, ref_logits) / temperature
    if options.kl_penalty == "exact":
        return exact_kl(logits, ref_logits)
    chosen, ref_chosen = (
        x.log_softmax(-1).gather(1, actions[:, None]).squeeze(1) for x in (logits, ref_logits)
    )
    return k1(chosen, ref_chosen)


def rollout_policy_kl(
    options: Options, rollout: Rollout, reference: nn.Module, vocab_size: int, temperature: float
) -> Tensor:
    """Return kl_t of every action of finished episodes, [B, L]; 0 where there is none.

    The policy is a function of one state per row, so this costs a step for each token.
    """
    kl = torch.zeros_like(rollout.rewards)
    engine = Engine(reference, vocab_size)
    prompt_lengths, lengths = rollout.prompt_lengths, rollout.lengths
    for step in range(int(rollout.response_lengths.max())):
        # An episode that is over stays at its last action.
        at = torch.minimum(prompt_lengths + step, lengths - 1)
        actions = rollout.tokens.gather(1, at[:, None]).squeeze(1)
        ref_logits = engine(rollout.tokens, at) / temperature
        paid = policy_kl(options, rollout.tokens, at, actions, ref_logits, temperature)
        kl.scatter_(1, at[:, None], paid[:, None].to(kl.dtype))
    return kl


def _checked(answer: object, ref_logits: Tensor) -> Tensor:
    """Return the policy's logits [N, V] in float32, cut to the vocabulary."""
    count, vocab_size = ref_logits.shape
    shape = list(answer.shape) if isinstance(answer, Tensor) else None
    if not isinstance(answer, Tensor) or shape is None or len(shape) != 2:
        raise ValueError(
            f"policy must return next-token logits [{count}, {vocab_size}], "
            f"got {shape or type(answer).__name__}; take the logits after each row's last token"
        )
    if shape[0] != count or shape[1] < vocab_size:
        raise ValueError(
            f"policy must return next-token logits [{count}, {vocab_size}], got {shape}; "
            "policy and reference need the same vocabulary"
        )
    logits = answer[:, :vocab_size].to(ref_logits.device).float()
    bad = ~logits.logsumexp(-1).isfinite()
    if bad.any():
        row = int(bad.nonzero()[0])
        raise ValueError(
            f"policy must return finite logits, got NaN, inf or only -inf in row {row}"
        )
    return logits
