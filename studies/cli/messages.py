"""The messages of interrupted commands. Imports nothing, so that it is ready first."""

from __future__ import annotations

INTERRUPTED = {
    "ablate": "finished runs are kept, the same command continues from there",
    "check": "nothing was changed",
    "compare": "nothing was changed",
    "credit": "the same command starts again",
    "critics": "the same command starts again",
    "early_warning": "finished runs are kept, the same command continues from there",
    "evaluate": "nothing was changed",
    "export": "nothing was written; the same command starts again",
    "gains": "nothing was changed",
    "label": "every click is kept, the same command opens the page again",
    "overoptimization": "what is finished is kept, the same command continues",
    "preference": "what is finished is kept, the same command continues",
    "report": "nothing was changed",
    "reward_report": "nothing was changed",
    "rounds": "finished rounds are kept, the same command continues from there",
    "scaling": "finished runs are kept, the same command continues from there",
    "train": "what is saved is kept, the same command continues from there",
    "train_reward": "nothing was written",
    "estimators": "the same command starts again",
    "value_learning": "the same command starts again",
    "variance": "the same command starts again",
    "zoo": "finished rows are kept, the same command continues from there",
}


def interrupted(command: str) -> str:
    """Return the line that a command ends with after Ctrl-C or SIGTERM."""
    return f"{command}: interrupted; {INTERRUPTED[command]}"
