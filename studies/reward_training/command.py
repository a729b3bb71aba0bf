"""The work of `scripts/train_reward.py`: read the data, train, write the reward."""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any

from rlhf_env.files import write_atomically
from rlhf_env.rewards.feedback.data import PreferenceData
from rlhf_env.rewards.feedback.files import read_preferences
from rlhf_env.rewards.training.train import RewardTraining, train
from rlhf_env.rewards.training.trained import check_new_folder
from studies.reporting.samples import printable
from studies.reward_training.settings import Settings


def run(settings: Settings) -> None:
    """Read the data, train, write the reward, and print how good it is.

    Raises:
        ValueError: if settings or data cannot be used.
        OSError: if a file cannot be read or written.
    """
    with warnings.catch_warnings():
        warnings.showwarning = show_warning
        data, held_out = read(settings)
        result = train(
            settings.model, data, held_out=held_out, settings=settings.fit, losses=settings.losses
        )
        write(result, settings)
    for member in result.figures()["members"]:
        print(_line(member))


def read(settings: Settings) -> tuple[PreferenceData, PreferenceData | None]:
    """Return the data to fit to and those held out, once all settings are checked.

    Raises:
        ValueError: if a setting or a row cannot be used.
    """
    check_new_folder(settings.out)
    fields = settings.fields
    data = read_preferences(settings.data, kind=settings.kind, fields=fields, option="--data")
    if settings.held_out is None:
        return data, None
    held_out = read_preferences(
        settings.held_out, kind=data.kind, fields=fields, option="--held-out"
    )
    return data, held_out


def write(result: RewardTraining, settings: Settings) -> None:
    """Write the reward model, and what was measured beside it."""
    result.save(settings.out)
    figures = json.dumps(result.figures(), indent=2) + "\n"
    write_atomically(settings.out / "figures.json", figures.encode())


def _line(member: dict[str, Any]) -> str:
    accuracy = member["held_out_accuracy"]
    shown = "none" if accuracy is None else f"{accuracy:.1%}"
    loss = member["held_out_loss"]
    return f"held-out loss {loss:.4f}, accuracy {shown}, best after step {member['best_step']}"


def show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Print a warning as one line for the user."""
    print(f"note: {printable(' '.join(str(message).split()))}", file=sys.stderr)
