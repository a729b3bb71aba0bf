"""Lambda = 1 is best for PPO on a language model."""

from __future__ import annotations

from studies.zoo.claim import Claim, Contrast
from studies.zoo.experiments.measures import Final, Mean
from studies.zoo.experiments.training import Arm, Training
from studies.zoo.verdict import Exceeds


def _ppo(gae_lambda: float) -> Arm:
    return Arm(agent="ppo", settings={"gae_lambda": gae_lambda})


CLAIM = Claim(
    title="Lambda = 1 is best",
    citation="Ahmadian et al., arXiv:2402.14740",
    says="Without bootstrapping, λ = 1, PPO gets the most reward, and less and less as λ falls.",
    reported="λ = 1 best, reward falls as λ goes to 0; as transcribed, not read at the source",
    setting="needles-32, PPO with 16 optimizer steps on 32 responses, step size 0.03, 30 updates; "
    "the critic is a table of zeros at first.",
    truth="exact regret, as the share of J* − J of the reference that is gained",
    experiment=Training(
        task="needles-32",
        updates=30,
        learning_rate=0.03,
        arms={f"λ = {value:g}": _ppo(value) for value in (1.0, 0.95, 0.8, 0.5, 0.0)},
        measures={
            "gained, mean": Mean("gained"),
            "gained": Final("gained"),
            "score": Final("score"),
        },
    ),
    contrasts=(
        Contrast(
            says="mean share gained: λ = 1 minus λ = 0.95",
            measure="gained, mean",
            more="λ = 1",
            less="λ = 0.95",
            rule=Exceeds(size=0.02),
        ),
        Contrast(
            says="mean share gained: λ = 0.95 minus λ = 0",
            measure="gained, mean",
            more="λ = 0.95",
            less="λ = 0",
            rule=Exceeds(size=0.02),
        ),
    ),
    guess="A table learns its critic in a few updates, so bootstrapping pays soon; a language "
    "model that begins near a good policy has little to gain from it. Towards λ = 0 the claim "
    "holds: the score is no lower, but most of the gain in J is lost, as an untrained critic "
    "misleads the first updates.",
)
