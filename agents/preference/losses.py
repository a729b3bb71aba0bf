"""Every loss of preference optimization, as pure functions of tensors.

Values are in nats, lengths in tokens with the EOS included. A log-ratio ρ is log π − log π_ref,
summed over a response's tokens; no gradient passes through the reference; h = ρ_w − ρ_l is that of
the better response less that of the worse. Three kinds of loss:

* of a pair (`PAIR_LOSSES`): f(sides, beta=..., ...) is [P], the loss where the *first* response is
  the better one. `expected_loss` turns it into the loss under any label p = P(first is better):
  votes, ties, soft labels and judges are one mechanism;
* of a list (`LIST_LOSSES`): f(ranking, ...) is a scalar for the K responses to one prompt;
* of a single response (`SINGLE_LOSSES`): f(log_ratios, label, ...) is [B].

The option names are those of the settings. Nothing here knows a model, a setting or a file, and no
formula of such a loss is found elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from agents.preference.comparisons import Ranking, Sides
from rlhf_env.rewards.training.preference_losses import plackett_luce_loss

# exp(20) = 5e8: beyond it an exponential continues along its tangent, so that gradients are finite.
_LARGEST_EXPONENT = 20.0
# The largest mean log-probability of a token that odds are taken of; odds of 1 would be infinite.
_LARGEST_MEAN_LOGPROB = -1e-10


PairLoss = Callable[..., Tensor]


def expected_loss(loss: PairLoss, sides: Sides, p: Tensor | float, **options: object) -> Tensor:
    """Return p f(first, second) + (1 − p) f(second, first), [P].

    Args:
        loss: one of `PAIR_LOSSES`.
        sides: the comparisons.
        p: [P] or one number, the probability that the first response is the better one.
        **options: of the loss; ``beta`` and what it names.
    """
    return p * loss(sides, **options) + (1 - p) * loss(sides.swapped(), **options)


# ------------------------------------------------------------------ pairs, with a reference


def dpo(
    sides: Sides, *, beta: float, sft_coef: float = 0.0, nll_length: Tensor | float | None = None
) -> Tensor:
    """−log σ(β h)   (DPO, arXiv:2305.18290, eq. 7), with a log-likelihood (arXiv:2404.19733v3).

    Args:
        sides: the comparisons.
        beta: weight of the KL that the same optimum has in RL.
        sft_coef: weight of the first response's mean negative log-likelihood.
        nll_length: see `mean_nll`.
    """
    preferred = -logsigmoid(beta * sides.difference)
    return preferred + sft_coef * mean_nll(sides, nll_length) if sft_coef else preferred


def cdpo(sides: Sides, *, beta: float, label_smoothing: float = 0.1) -> Tensor:
    """DPO on labels that are flipped with probability e   (E. Mitchell, cDPO, 2023)."""
    return expected_loss(dpo, sides, 1 - label_smoothing, beta=beta)


def robust(sides: Sides, *, beta: float, label_smoothing: float = 0.1) -> Tensor:
    """DPO without the bias of labels flipped with e < ½   (rDPO, arXiv:2403.00409).

    p becomes (p − e)/(1 − 2e). It has no minimum where labels are cleaner than e; a loss below 0
    is the sign of it.
    """
    unbiased = (1 - label_smoothing) / (1 - 2 * label_smoothing)
    return expected_loss(dpo, sides, unbiased, beta=beta)


def dpo_norm(sides: Sides, *, beta: float) -> Tensor:
    """DPO on mean log-ratios of tokens   (Tülu 3, arXiv:2411.15124)."""
    first = sides.first_log_ratio / sides.first_length
    return -logsigmoid(beta * (first - sides.second_log_ratio / sides.second_length))


def rdpo(sides: Sides, *, beta: float, length_coef: float = 0.05) -> Tensor:
    """−log σ(β h + α (|w| − |l|)): a token costs α   (R-DPO, arXiv:2403.19159).

    The sign is that of the fixed point π_ref exp((r − α |y|)/β).
    """
    longer = (sides.first_length - sides.second_length).to(sides.first)
    return -logsigmoid(beta * sides.difference + length_coef * longer)


def dpop(sides: Sides, *, beta: float, dpop_lambda: float = 50.0) -> Tensor:
    """DPO that keeps the first response as likely as at the start   (Smaug, arXiv:2402.13228).

    It takes every first response for a good one: on noisy labels π stays at π_ref.
    """
    lost = (-sides.first_log_ratio).relu()
    return -logsigmoid(beta * (sides.difference - dpop_lambda * lost))


def ipo(sides: Sides, *, beta: float) -> Tensor:
    """(h − 1/(2τ))² on sums of tokens, τ = β   (IPO, arXiv:2310.12036, eq. 17)."""
    return (sides.difference - 1 / (2 * beta)).square()


def ipo_mean(sides: Sides, *, beta: float) -> Tensor:
    """IPO on mean log-ratios of tokens: what TRL's DPO calls "ipo"; another fixed point."""
    first = sides.first_log_ratio / sides.first_length
    return (first - sides.second_log_ratio / sides.second_length - 1 / (2 * beta)).square()


def hinge(sides: Sides, *, beta: float) -> Tensor:
    """max(0, 1 − β h)   (SLiC with a reference, as in RSO, arXiv:2309.06657)."""
    return (1 - beta * sides.difference).relu()


def exo(sides: Sides, *, beta: float, exo_epsilon: float = 1e-3) -> Tensor:
    """KL from σ(β h) to the label (1 − e, e)   (EXO-pref, arXiv:2402.00856)."""
    logit = beta * sides.difference
    to_first = logsigmoid(logit) - math.log1p(-exo_epsilon)
    to_second = logsigmoid(-logit) - math.log(exo_epsilon)
    return logit.sigmoid() * to_first + (-logit).sigmoid() * to_second


def nca(sides: Sides, *, beta: float) -> Tensor:
    """Noise contrast of each side with the reference   (NCA, arXiv:2402.05369)."""
    first, second = beta * sides.first_log_ratio, beta * sides.second_log_ratio
    return -logsigmoid(first) - (logsigmoid(-first) + logsigmoid(-second)) / 2


def apo_zero(sides: Sides, *, beta: float) -> Tensor:
    """1 − σ(β ρ_w) + σ(β ρ_l): raises the first, lowers the second   (arXiv:2408.06266)."""
    first, second = beta * sides.first_log_ratio, beta * sides.second_log_ratio
    return (-first).sigmoid() + second.sigmoid()


def apo_down(sides: Sides, *, beta: float) -> Tensor:
    """σ(β ρ_w) + 1 − σ(β h): lowers both, the second more   (arXiv:2408.06266)."""
    return (beta * sides.first_log_ratio).sigmoid() + (-beta * sides.difference).sigmoid()


def discopop(sides: Sides, *, beta: float, discopop_tau: float = 0.05) -> Tensor:
    """Logistic loss, blended with an exponential one where h > 0   (arXiv:2406.08414, LRML)."""
    logit = beta * sides.difference
    modulation = (logit / discopop_tau).sigmoid()
    return (1 - modulation) * -logsigmoid(logit) + modulation * _bounded_exp(-logit)


def fdpo(
    sides: Sides, *, beta: float, f_divergence: str = "reverse_kl", f_alpha: float = 0.5
) -> Tensor:
    """−log σ(β (f′(u_w) − f′(u_l))) with u = π/π_ref   (f-DPO, arXiv:2309.16240).

    Args:
        sides: the comparisons.
        beta: weight of the divergence.
        f_divergence: "reverse_kl" (DPO), "forward_kl", "js_divergence" or "alpha_divergence"; as
            the functions of `rlhf_env.kl`, whose alpha is this one.
        f_alpha: of the alpha divergence; 1 is the reverse KL, 0 the forward KL.

    Raises:
        ValueError: if the divergence is unknown.
    """
    first = _divergence_slope(sides.first_log_ratio, f_divergence, f_alpha)
    second = _divergence_slope(sides.second_log_ratio, f_divergence, f_alpha)
    return -logsigmoid(beta * (first - second))


def tdpo1(sides: Sides, *, beta: float) -> Tensor:
    """−log σ(β (h − (K_l − K_w))), K the summed forward KL   (arXiv:2404.11999)."""
    first_kl, second_kl = _summed_kls(sides)
    return -logsigmoid(beta * (sides.difference - (second_kl - first_kl)))


def tdpo2(sides: Sides, *, beta: float, tdpo_alpha: float = 0.5) -> Tensor:
    """−log σ(β (h − α (K_l − sg K_w)))   (arXiv:2404.11999).

    No gradient passes through the first response's KL, so this is no gradient of any function.
    """
    first_kl, second_kl = _summed_kls(sides)
    excess = second_kl - first_kl.detach()
    return -logsigmoid(beta * (sides.difference - tdpo_alpha * excess))


def rpo(sides: Sides, *, beta: float, eta: float = 1.0, rpo_distance: str = "kl") -> Tensor:
    """Distance of β h from the scores' difference η Δr   (reward-aware RPO, arXiv:2406.11704).

    "kl" is KL(σ(η Δr) ‖ σ(β h)), DPO with that soft label less its entropy (NeMo's "bwd_kl");
    "squared" is (β h − η Δr)². It needs ``sides.margin``; labels do not enter.

    Raises:
        ValueError: without margins, or for another distance.
    """
    if sides.margin is None:
        raise ValueError("rpo needs the responses' scores: give sides.margin, got None")
    found, wanted = beta * sides.difference, eta * sides.margin
    if rpo_distance == "squared":
        return (found - wanted).square()
    if rpo_distance != "kl":
        raise ValueError(f'rpo_distance must be "kl" or "squared", got {rpo_distance!r}')
    to_first = wanted.sigmoid() * (logsigmoid(wanted) - logsigmoid(found))
    return to_first + (-wanted).sigmoid() * (logsigmoid(-wanted) - logsigmoid(-found))


def sppo(sides: Sides, *, beta: float) -> Tensor:
    """The square of `sppo_response` for a sure win and a sure loss   (SPPO, arXiv:2405.00675)."""
    won = sppo_response(sides.first_log_ratio, 1.0, beta=beta)
    return won + sppo_response(sides.second_log_ratio, 0.0, beta=beta)


def bco(sides: Sides, *, beta: float, bco_shift: Tensor | float = 0.0) -> Tensor:
    """The logistic losses of `bco_response` for a good and a bad one   (arXiv:2404.04656)."""
    good = bco_response(sides.first_log_ratio, 1.0, beta=beta, bco_shift=bco_shift)
    return good + bco_response(sides.second_log_ratio, 0.0, beta=beta, bco_shift=bco_shift)


# --------------------------------------------------------------- pairs, without a reference


def slic(
    sides: Sides, *, beta: float = 1.0, slic_margin: float = 1.0, sft_coef: float = 0.1
) -> Tensor:
    """max(0, δ − β (log π_w − log π_l)) − λ log π_w, sums   (SLiC-HF, arXiv:2305.10425)."""
    behind = slic_margin - beta * (sides.first - sides.second)
    return behind.relu() - sft_coef * sides.first


def simpo(sides: Sides, *, beta: float = 2.0, simpo_gamma: float = 0.5) -> Tensor:
    """−log σ(β (m_w − m_l) − γ), m the mean log π of a token   (SimPO, arXiv:2405.14734).

    γ is the margin itself, not its ratio to β.
    """
    first, second = sides.first / sides.first_length, sides.second / sides.second_length
    return -logsigmoid(beta * (first - second) - simpo_gamma)


def cpo(
    sides: Sides,
    *,
    beta: float = 0.1,
    sft_coef: float = 1.0,
    nll_length: Tensor | float | None = None,
) -> Tensor:
    """−log σ(β (log π_w − log π_l)) + a NLL(w)   (CPO, arXiv:2401.08417)."""
    preferred = -logsigmoid(beta * (sides.first - sides.second))
    return preferred + sft_coef * mean_nll(sides, nll_length)


def orpo(
    sides: Sides,
    *,
    beta: float = 0.1,
    sft_coef: float = 1.0,
    nll_length: Tensor | float | None = None,
) -> Tensor:
    """NLL(w) − λ log σ(o(m_w) − o(m_l)), λ = β   (ORPO, arXiv:2403.07691).

    o(m) = m − log(1 − e^m) are the log-odds of the mean token. The NLL is of the response alone.
    """
    odds = _log_odds(sides.first / sides.first_length)
    preferred = -logsigmoid(odds - _log_odds(sides.second / sides.second_length))
    return sft_coef * mean_nll(sides, nll_length) + beta * preferred


def mean_nll(sides: Sides, nll_length: Tensor | float | None = None) -> Tensor:
    """Return −log π_w / length, [P].

    Args:
        sides: the comparisons.
        nll_length: None divides each response by its own length. The mean length of the batch's
            better responses makes the batch's mean the mean over its tokens, as in TRL.
    """
    return -sides.first / (sides.first_length if nll_length is None else nll_length)


def xpo(sides: Sides, p: Tensor | float, *, beta: float, xpo_alpha: float = 1e-5) -> Tensor:
    """DPO under the label p, plus α log π of the *second*   (XPO, arXiv:2405.21046).

    The first response is the policy's and the second is the reference's, whichever won. On fixed
    data the bonus has no lower bound.
    """
    return expected_loss(dpo, sides, p, beta=beta) + xpo_alpha * sides.second


# -------------------------------------------------------------------------------- lists


def plackett_luce(ranking: Ranking, *, beta: float) -> Tensor:
    """−log P(the whole order) with worths e^{βρ}   (DPO, arXiv:2305.18290, app. A.3).

    K = 2 is DPO.
    """
    ranks = 1 + (ranking.labels[None, :] > ranking.labels[:, None]).sum(dim=1)
    return plackett_luce_loss(beta * ranking.log_ratios, ranks)


def lipo(ranking: Ranking, *, beta: float) -> Tensor:
    """Pairwise logistic losses, weighted by what a swap changes in DCG   (arXiv:2402.01878).

    Δ_ij = |2^ψ_i − 2^ψ_j| |1/log(1 + k_i) − 1/log(1 + k_j)|, ψ the labels and k the place by β ρ,
    the better label first where two are equal. The papers' leading minus is dropped.
    """
    scores, labels = beta * ranking.log_ratios, ranking.labels
    by_label = labels.argsort(descending=True, stable=True)
    order = by_label[scores.detach()[by_label].argsort(descending=True, stable=True)]
    discounts = 1 / torch.log1p(1.0 + order.argsort().to(scores))
    gains = torch.exp2(labels.to(scores))
    weights = (_differences(gains) * _differences(discounts)).abs()
    losses = weights * -logsigmoid(_differences(scores))
    return torch.where(_differences(labels) > 0, losses, 0.0).sum()


def rrhf(ranking: Ranking, *, sft_coef: float = 1.0) -> Tensor:
    """Σ_{ψ_i < ψ_j} max(0, m_i − m_j) − a log π(best)   (RRHF, arXiv:2304.05302)."""
    ahead = _differences(ranking.mean_logprobs).relu()
    misplaced = torch.where(_differences(ranking.labels) < 0, ahead, 0.0).sum()
    return misplaced - sft_coef * ranking.logprobs[ranking.labels.argmax()]


def pro(ranking: Ranking, *, sft_coef: float = 0.05) -> Tensor:
    """Σ_k [lse_{i≥k}(T_ki m_i) − T_kk m_k] − a (K − 1)² log π(best)   (PRO, arXiv:2306.17492).

    T_ki = r_k − r_i in the order of the labels r, T_kk the largest of them.
    """
    labels, order = ranking.labels.sort(descending=True, stable=True)
    means = ranking.mean_logprobs[order]
    loss = -sft_coef * (len(labels) - 1) ** 2 * ranking.logprobs[order[0]]
    for k in range(len(labels) - 1):
        gaps = labels[k] - labels[k:]
        gaps[0] = gaps.max()
        loss = loss + (gaps * means[k:]).logsumexp(dim=0) - gaps[0] * means[k]
    return loss


# ----------------------------------------------------------------------- single responses


def kto(
    log_ratios: Tensor,
    good: Tensor,
    *,
    beta: float,
    kl: Tensor | float = 0.0,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Tensor:
    """w_D (1 − σ(β (ρ − z))) if good, w_U (1 − σ(β (z − ρ))) if bad   (arXiv:2402.01306).

    Args:
        log_ratios: [B] ρ.
        good: [B] the probability that the response is a good one.
        beta: aversion to risk.
        kl: z, one number without gradient (`kto_baseline`).
        desirable_weight: w_D.
        undesirable_weight: w_U; w_D times the good ones over w_U times the bad ones should be
            between 1 and 4/3.
    """
    ahead = beta * (log_ratios - kl)
    if_bad = undesirable_weight * ahead.sigmoid()
    return good * desirable_weight * (-ahead).sigmoid() + (1 - good) * if_bad


def kto_baseline(mismatched_log_ratios: Tensor) -> Tensor:
    """Return z of `kto`: the mean of ρ(x_i, y_j), i ≠ j, no less than 0, without gradient.

    Args:
        mismatched_log_ratios: [B] of the batch's prompts with other prompts' responses. With one
            prompt this is no KL: it is below 0, so z is 0.
    """
    return mismatched_log_ratios.detach().mean().clamp(min=0.0)


def bco_response(
    log_ratios: Tensor, good: Tensor | float, *, beta: float, bco_shift: Tensor | float = 0.0
) -> Tensor:
    """−log σ(β ρ − δ) if good, −log σ(δ − β ρ) if bad   (BCO, arXiv:2404.04656).

    Args:
        log_ratios: [B] ρ.
        good: [B] or one number, the probability that the response is a good one.
        beta: scale of the log-ratios.
        bco_shift: δ, the running mean of (E_good[β ρ] + E_bad[β ρ])/2, without gradient.
    """
    logit = beta * log_ratios - bco_shift
    return -good * logsigmoid(logit) - (1 - good) * logsigmoid(-logit)


def dro(log_ratios: Tensor, scores: Tensor, *, beta: float, values: Tensor | float) -> Tensor:
    """(r − V(x) − τ ρ)²/2, τ = β   (DRO-V, arXiv:2405.19107).

    One square teaches the policy and V; its gradient in the policy is τ times the paper's.

    Args:
        log_ratios: [B] ρ.
        scores: [B] r.
        beta: τ.
        values: [B] or one number, V of the prompts. It must be learned: with V = 0 or V = E r the
            optimum is another.
    """
    return (scores - values - beta * log_ratios).square() / 2


def sppo_response(log_ratios: Tensor, win_rates: Tensor | float, *, beta: float) -> Tensor:
    """(ρ − η (P − ½))², η = 1/β, ρ against the last iterate   (arXiv:2405.00675).

    Args:
        log_ratios: [B] ρ.
        win_rates: [B] or one number, P that the response beats one of the last iterate's.
        beta: 1/η.
    """
    return (log_ratios - (win_rates - 0.5) / beta).square()


def nash_md(log_ratios: Tensor, win_rates: Tensor, *, beta: float) -> Tensor:
    """sg(τ ρ − (P − ½)) ρ, τ = β, y ~ π   (Nash-MD, arXiv:2312.00886).

    Only its gradient means something: that of −P(π beats the opponent) + τ KL(π ‖ π_ref).

    Args:
        log_ratios: [B] ρ of responses drawn from π.
        win_rates: [B] P that they beat the opponent's.
        beta: τ.
    """
    return (beta * log_ratios - (win_rates - 0.5)).detach() * log_ratios


def _divergence_slope(log_ratios: Tensor, name: str, alpha: float) -> Tensor:
    """Return f′(u) up to a constant, u = e^ρ; the reverse KL is α = 1, the forward KL is α = 0."""
    if name == "js_divergence":
        return log_ratios - softplus(log_ratios)
    alphas = {"reverse_kl": 1.0, "forward_kl": 0.0, "alpha_divergence": alpha}
    if name not in alphas:
        known = ", ".join(sorted([*alphas, "js_divergence"]))
        raise ValueError(f"f_divergence must be one of {known}, got {name!r}")
    power = alphas[name] - 1.0
    return log_ratios if power == 0 else _bounded_exp(power * log_ratios) / power


def _bounded_exp(exponent: Tensor) -> Tensor:
    bounded = exponent.clamp(max=_LARGEST_EXPONENT)
    return bounded.exp() + math.exp(_LARGEST_EXPONENT) * (exponent - _LARGEST_EXPONENT).relu()


def _log_odds(mean_logprobs: Tensor) -> Tensor:
    bounded = mean_logprobs.clamp(max=_LARGEST_MEAN_LOGPROB)
    return bounded - torch.log(-torch.expm1(bounded))


def _differences(values: Tensor) -> Tensor:
    return values[:, None] - values[None, :]


def _summed_kls(sides: Sides) -> tuple[Tensor, Tensor]:
    if sides.first_kl is None or sides.second_kl is None:
        raise ValueError("TDPO needs first_kl and second_kl, the KL summed over states, got None")
    return sides.first_kl, sides.second_kl


PAIR_LOSSES: Mapping[str, PairLoss] = MappingProxyType(
    {
        loss.__name__: loss
        for loss in (
            dpo,
            cdpo,
            robust,
            dpo_norm,
            rdpo,
            dpop,
            ipo,
            ipo_mean,
            hinge,
            exo,
            nca,
            apo_zero,
            apo_down,
            discopop,
            fdpo,
            tdpo1,
            tdpo2,
            rpo,
            sppo,
            bco,
            slic,
            simpo,
            cpo,
            orpo,
        )
    }
)
LIST_LOSSES: Mapping[str, Callable[..., Tensor]] = MappingProxyType(
    {"plackett_luce": plackett_luce, "lipo": lipo, "rrhf": rrhf, "pro": pro}
)
SINGLE_LOSSES: Mapping[str, Callable[..., Tensor]] = MappingProxyType(
    {"kto": kto, "bco": bco_response, "dro": dro, "sppo": sppo_response, "nash_md": nash_md}
)
