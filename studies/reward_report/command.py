"""The work of `scripts/reward_report.py`: train, evaluate, print and write."""

from __future__ import annotations

import warnings

from rlhf_env.rewards.training.trained import check_new_folder, save_reward
from studies.reward_report.inputs import first_member, fitting, read, reward_of, subsets
from studies.reward_report.judges import judged
from studies.reward_report.report import TEST, page, write
from studies.reward_report.settings import Settings
from studies.reward_training.command import show_warning


def run(settings: Settings) -> None:
    """Do the work, warnings shown as one line each.

    Raises:
        ValueError: if something cannot be used.
        OSError: if a result cannot be written.
    """
    with warnings.catch_warnings():
        warnings.showwarning = show_warning
        report(settings)


def report(settings: Settings) -> None:
    """Check everything that can be checked before training, then train, judge, print and write.

    Raises:
        ValueError: if something cannot be used.
        OSError: if a result cannot be written.
    """
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
