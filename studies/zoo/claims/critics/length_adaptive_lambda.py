"""A lambda that grows with the length beats a fixed one."""

from __future__ import annotations

from studies.zoo.claim import Claim, Contrast
from studies.zoo.experiments.measures import Final, Mean
from studies.zoo.experiments.training import Arm, Training
from studies.zoo.verdict import Exceeds

_VC = {"critic_gae_lambda": 1.0, "critic_warmup_updates": 4}

CLAIM = Claim(
    title="A lambda that follows the length beats 0.95",
    citation="VAPO, arXiv:2504.05118",
    says="With λ = 1 − 1/(αl) for a response of l tokens PPO learns better than with λ = 0.95.",
    reported="one of the parts that are taken away one by one on AIME; figures not checked",
    setting="needles-32 and a critic that was pretrained for 4 updates with λ = 1; α = 0.2 gives λ "
    "= 0.84 at 32 tokens. PPO, 12 updates of 32 responses, step size 0.03. The authors' α is 0.05, "
    "for responses of thousands of tokens.",
    truth="exact regret, as the share of J* − J of the reference that is gained",
    experiment=Training(
        task="needles-32",
        updates=12,
        learning_rate=0.03,
        eval_episodes=64,
        arms={
            "λ = 0.95": Arm(agent="ppo", settings={**_VC, "gae_lambda": 0.95}),
            "λ by length": Arm(agent="ppo", settings={**_VC, "length_adaptive_lambda": 0.2}),
            "λ = 0.84": Arm(agent="ppo", settings={**_VC, "gae_lambda": 0.84}),
        },
        measures={"gained, mean": Mean("gained", first=5), "gained": Final("gained")},
    ),
    contrasts=(
        Contrast(
            says="mean share gained: λ by length minus λ = 0.95",
            measure="gained, mean",
            more="λ by length",
            less="λ = 0.95",
            rule=Exceeds(size=0.02),
        ),
        Contrast(
            says="mean share gained: λ by length minus the same λ fixed",
            measure="gained, mean",
            more="λ by length",
            less="λ = 0.84",
            rule=Exceeds(size=0.02),
        ),
    ),
    guess="λ = 0.84 fixed is as good: what helps on responses of equal length is the smaller λ, "
    "and not that it follows the length. Where lengths differ widely the rule could do more.",
)
