"""Train a reward model on what people said about responses.

    python scripts/train_reward.py --data pairs.jsonl --model my-model --out runs/reward
    python scripts/train_reward.py --data train.jsonl.gz --held-out test.jsonl.gz \
        --field prompt=instruction+input --model my-model --out runs/votes --members 3
    python scripts/train_reward.py --data ratings.parquet --field prompt= response=text \
        rating=mean --model my-model --out runs/ratings

Exit status: 0 when the reward is written, 1 when training or writing failed, 2 for settings or
data that cannot be used, 130 after Ctrl-C; then nothing is written.
"""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any

import tyro

from rlhf_env.files import write_atomically
from rlhf_env.rewards.feedback.data import PreferenceData
from rlhf_env.rewards.feedback.files import read_preferences
from rlhf_env.rewards.training.train import RewardTraining, train
from rlhf_env.rewards.training.trained import check_new_folder
from studies.reporting.samples import printable
from studies.reward_training.settings import Settings


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, check it, train, and write.

    Args:
        arguments: the command line's words; those of the process by default.

    Returns:
        The exit status.
    """
    try:
        settings = tyro.cli(Settings, args=arguments, description=(__doc__ or "").split("\n")[0])
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return run(settings)
    except ValueError as error:
        return _refused(str(error), 2)
    except OSError as error:
        return _refused(f"cannot read or write: {error}", 1)
    except KeyboardInterrupt:
        return _refused("interrupted; nothing was written", 130)


def run(settings: Settings) -> int:
    """Read the data, train, write the reward, and print what it is worth.

    Returns:
        The exit status.
    """
    data, held_out = read(settings)
    result = train(
        settings.model, data, held_out=held_out, settings=settings.fit, losses=settings.losses
    )
    write(result, settings)
    for member in result.figures()["members"]:
        print(_line(member))
    return 0


def read(settings: Settings) -> tuple[PreferenceData, PreferenceData | None]:
    """Return the data to fit to and those held out, once all settings are checked.

    Raises:
        ValueError: if a setting or a row cannot be used.
    """
    settings.check()
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


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"note: {printable(' '.join(str(message).split()))}", file=sys.stderr)


def _refused(reason: str, status: int) -> int:
    print(f"train_reward: {printable(' '.join(reason.split()))}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
