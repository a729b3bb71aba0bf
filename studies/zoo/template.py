"""The file of a new claim: one that runs as it is, to be changed from there."""

from __future__ import annotations

_TEMPLATE = '''\
"""One sentence: what is claimed, by whom."""

from __future__ import annotations

from studies.zoo.claim import Claim, Contrast
from studies.zoo.experiments.measures import Final, Mean
from studies.zoo.experiments.training import Arm, Training
from studies.zoo.verdict import Exceeds

CLAIM = Claim(
    title="TITLE",
    citation="Authors or title, arXiv:0000.00000",
    says="The claim in one sentence.",
    reported="The authors' figure; whether it was read at the source.",
    setting="The task, and what in it stands for what in the paper.",
    truth="exact regret (J* − J), by enumeration",
    experiment=Training(
        task="toy15",
        updates=10,
        seeds=5,
        arms={
            # Names of built-in agents, and settings as their constructors take them.
            "groups of 4": Arm(agent="rloo", settings={"group_size": 4}),
            "groups of 2": Arm(agent="rloo", settings={"group_size": 2}),
        },
        # Columns of the table, from the evaluation at the end or the curve of every update.
        measures={"regret": Final("regret"), "mean regret": Mean("regret"), "kl": Final("kl")},
    ),
    # What decides. Fix the size before the first run, and leave it.
    contrasts=(
        Contrast(
            says="mean regret over the updates: groups of 2 minus groups of 4",
            measure="mean regret",
            more="groups of 2",
            less="groups of 4",
            rule=Exceeds(size=0.02),
        ),
    ),
    # Written after the runs; pages show it as a guess.
    guess="",
)
'''


def template(name: str) -> str:
    """Return the content of the file.

    Args:
        name: of the claim.
    """
    return _TEMPLATE.replace("TITLE", name.replace("-", " ").capitalize())
