"""Sequence-level importance ratios are right and noisy; token-level ones are biased."""

from __future__ import annotations

from studies.zoo.claim import Claim, Contrast
from studies.zoo.experiments.gradients import Estimator, Gradients
from studies.zoo.verdict import Exceeds, Within


def _reinforce(importance: str) -> Estimator:
    settings = {
        "baseline": "none",
        "aggregation": "sum",
        "behavior_noise": 0.5,
        "importance": importance,
    }
    return Estimator(agent="reinforce", settings=settings)


CLAIM = Claim(
    title="Token ratios are biased, sequence ratios are noisy",
    citation="GSPO, arXiv:2507.18071, and the notes on sampler mismatch that followed it",
    says="Where the sampler differs from the policy, ratios of whole responses give the right "
    "gradient with more noise; ratios of tokens give a biased one.",
    reported="GSPO: stable training of mixtures of experts; no figure of the bias is known to us",
    setting="toy15 with beta 0.5, a sampler with Gaussian noise of 0.5 on its logits; REINFORCE at "
    "ten policies near the way to the optimum.",
    truth="exact gradients: every rollout of the sampler is enumerated",
    experiment=Gradients(
        arms={name: _reinforce(name) for name in ("none", "token", "sequence", "geometric")},
    ),
    contrasts=(
        Contrast(
            says="relative error of the direction: token minus sequence",
            measure="direction_bias",
            more="token",
            less="sequence",
            rule=Exceeds(size=0.02),
        ),
        Contrast(
            says="relative error of the direction: sequence",
            measure="direction_bias",
            more="sequence",
            rule=Within(margin=1e-3),
        ),
        Contrast(
            says="noise of one response's gradient: sequence minus token, as a share of the latter",
            measure="noise_to_signal",
            more="sequence",
            less="token",
            relative=True,
            rule=Exceeds(size=0.02),
        ),
    ),
    guess="The bias of token ratios, and that sequence ratios have none, came out; the price in "
    "noise is a few per cent on average for responses of three tokens, and differs in sign between "
    "policies. The product of ratios gets noisier with the length, which is small here.",
)
