"""Train a reward model on people's judgements and say how good it is on prompts it never saw.

    python scripts/reward_report.py --data train.jsonl.gz --test test.jsonl.gz --out runs/pairs
    python scripts/reward_report.py --data train.jsonl.gz --test test.jsonl.gz --model my-model \
        --field prompt= response=text rating=mean --out runs/ratings
    python scripts/reward_report.py --data train.jsonl.gz --test test.jsonl.gz \
        --reward runs/reward --also llmbar.jsonl.gz --out runs/report

Exit status: 0 when the report is written, 1 when it could not be, 2 for settings or data that
cannot be used, 130 after Ctrl-C.
"""

from __future__ import annotations

import sys
import warnings

import tyro

from rlhf_env.rewards.training.trained import check_new_folder, save_reward
from studies.evaluation.terminal import guarded
from studies.reporting.samples import printable
from studies.reward_report.judges import judged
from studies.reward_report.material import (
    first_member,
    fitting,
    read,
    reward_of,
    subsets,
)
from studies.reward_report.report import TEST, page, write
from studies.reward_report.settings import Settings


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, check it, train and judge; return the exit status."""
    warnings.showwarning = _show_warning
    settings = tyro.cli(Settings, args=arguments, description=(__doc__ or "").split("\n")[0])
    return guarded("reward_report", lambda: report(settings))


def report(settings: Settings) -> None:
    """Check everything that can be checked before training, then train, judge, print and write.

    Raises:
        ValueError: if something cannot be used.
        OSError: if a result cannot be written.
    """
    settings.check()
    check_new_folder(settings.out)
    data, test = read(settings)
    others = {} if settings.also is None else subsets(settings.also, settings.also_by, data.kind)
    reward, training = reward_of(settings, data)
    window = first_member(reward)
    tests = {name: fitting(rows, window) for name, rows in ({TEST: test} | others).items()}
    found = judged(reward, data, tests)
    notes = [*data.notes, *(f"{name}: {note}" for name, own in tests.items() for note in own.notes)]
    write(settings.out, found, training=training, notes=notes)
    if settings.reward is None:
        save_reward(reward, settings.out / "reward")
    print(page(found, notes))


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"note: {printable(' '.join(str(message).split()))}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
