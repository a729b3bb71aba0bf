"""The comparisons that a run learns from, and those that it is evaluated on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlhf_env.files import sha256
from rlhf_env.rewards.feedback.data import PreferenceData
from rlhf_env.rewards.feedback.files import read_preferences
from studies.experiment.references import existing_file
from studies.training.settings import Learning

REFERENCE = "reference.safetensors"


@dataclass(frozen=True, kw_only=True)
class TrainingPreferences:
    """Comparisons of people or of a judge, read and checked before a model is loaded."""

    train: PreferenceData
    """To learn from."""
    held_out: PreferenceData | None
    """To evaluate on, about other prompts; None where there are too few prompts to set aside."""
    digests: dict[str, str]
    """SHA-256 of each file, by option."""

    def arguments(self, folder: Path) -> dict[str, Any]:
        """Return the agent's arguments; what the reference says is kept in the run's folder."""
        held_out = {} if self.held_out is None else {"held_out": self.held_out}
        return {"preferences": self.train, "reference_file": folder / REFERENCE, **held_out}


def training_preferences(learning: Learning) -> TrainingPreferences | None:
    """Read the files that a command line names; None where it names none.

    Without a file of its own, a tenth of the prompts is held out.

    Raises:
        ValueError: if a file cannot be used, naming the option.
    """
    if learning.preferences is None:
        return None
    paths = {"preferences": existing_file(learning.preferences, "--preferences")}
    data = read_preferences(paths["preferences"], option="--preferences")
    held_out = None
    if learning.held_out is not None:
        paths["held_out"] = existing_file(learning.held_out, "--held-out")
        held_out = read_preferences(paths["held_out"], option="--held-out")
        held_out = held_out.without_prompts_of(data)
    else:
        data, held_out = _parted(data)
    digests = {option: sha256(path) for option, path in paths.items()}
    return TrainingPreferences(train=data, held_out=held_out, digests=digests)


def _parted(data: PreferenceData) -> tuple[PreferenceData, PreferenceData | None]:
    try:
        return data.split()
    except ValueError:
        return data, None
