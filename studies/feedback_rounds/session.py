"""The rounds one after the other: sample, label, learn the reward, train the policy, measure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from rich.console import Console
from rich.table import Table
from torch import nn

from agents import Agent
from agents.policy import Policy
from agents.rollouts.collect import base_environment
from rlhf_env.rewards.feedback.data import PreferenceData
from rlhf_env.rewards.feedback.records import Comparison
from rlhf_env.rewards.training.trained import load_reward, save_reward
from rlhf_env.task import Task
from studies.experiment.build import make_task
from studies.feedback_rounds.folder import (
    RoundFolder,
    read_round_metrics,
    write_round_metrics,
    write_tables,
)
from studies.feedback_rounds.labels import Choices, read_labels, read_pairs, write_pairs
from studies.feedback_rounds.pairs import gold_preferences, sample_pairs
from studies.feedback_rounds.people import take_labels, wait_for_labels
from studies.feedback_rounds.policy import (
    label_accuracy,
    make_envs,
    model_before,
    reference_rollout,
    train_on_labels,
    train_policy,
    unjudged,
)
from studies.feedback_rounds.reward import accuracy, check_learnable, fit_reward
from studies.feedback_rounds.settings import Settings
from studies.results.run_folder import claim

# Each of these has its own random stream in every round.
_PAIRS, _LABELS, _REWARD, _POLICY = range(4)
# Of an evaluation: what is kept of a round.
KEPT = (
    "gold",
    "kl",
    "kl_exact",
    "win_rate",
    "response_length",
    "eos_rate",
    "distinct_2",
    "reference_gold",
)
SHOWN = ("round", "pairs", "held_out_accuracy", "previous_accuracy", "proxy", "gold", "kl")


def prepare(settings: Settings) -> Task:
    """Load the task, and check that it can be run.

    Raises:
        ValueError: if it has no gold reward where that should label, or no reward can be learned.
    """
    task = make_task(settings.task)
    check_learnable(task)
    if settings.labels == "gold" and task.gold is None:
        raise ValueError(
            f"--labels gold needs a task with a gold reward, got {task.name!r} without; "
            "choose --labels people"
        )
    return task


def run(settings: Settings, task: Task, asked: dict[str, object], console: Console) -> None:
    """Run all rounds that are not finished.

    Raises:
        LabelsMissing: if people are to label pairs first.
        ValueError: if another process uses the folder, or its files cannot be used.
        OSError: if it cannot be written.
    """
    with claim(settings.out, asked):
        figures = []
        for number in range(1, settings.rounds + 1):
            folder = RoundFolder(out=settings.out, number=number)
            if not folder.figures.exists():
                folder.path.mkdir(exist_ok=True)
                console.print(f"round {number} of {settings.rounds}")
                _run_round(settings, task, folder, console)
            figures.append(read_round_metrics(folder.figures))
            write_tables(settings.out, figures)
    console.print(_table(figures))
    console.print(f"results in {settings.out}", markup=False)


def _run_round(settings: Settings, task: Task, folder: RoundFolder, console: Console) -> None:
    last = RoundFolder(out=folder.out, number=folder.number - 1) if folder.number > 1 else None
    envs = make_envs(task, settings, unjudged)
    model = model_before(last.policy if last else None, task, envs, settings)
    if not folder.pairs.exists():
        _write_pairs(settings, envs, Policy(model, task.vocab_size), folder)
    if settings.wait:
        wait_for_labels(folder, console)
    else:
        take_labels(folder)
    _labels(folder)
    by = _trained_on_labels if settings.policy == "dpo" else _trained_on_reward
    agent, figures = by(settings, task, envs, model, folder, last)
    evaluation = agent.evaluate(settings.eval_episodes)
    # Without a reward there is no proxy.
    figures["proxy"] = None if settings.policy == "dpo" else evaluation["score"]
    kept = {name: evaluation[name] for name in KEPT if name in evaluation}
    write_round_metrics(folder.figures, {"round": folder.number, **figures, **kept})


def _trained_on_reward(
    settings: Settings,
    task: Task,
    envs: VectorEnv[Any, Any, Any],
    model: nn.Module,
    folder: RoundFolder,
    last: RoundFolder | None,
) -> tuple[Agent, dict[str, Any]]:
    """Learn a reward and train on it; return the agent and how well rewards agree with labels."""
    if not folder.reward.exists():
        _learn_reward(settings, envs, folder)
    device = base_environment(envs).mdp.device
    figures = {**read_round_metrics(folder.reward_figures), "previous_accuracy": None}
    if last is not None:
        former = load_reward(last.reward, device)
        figures["previous_accuracy"] = accuracy(former, _labels(folder), task.tokenizer)
    judged = make_envs(task, settings, load_reward(folder.reward, device))
    seed = _seed(settings, folder, _POLICY)
    return train_policy(model, judged, settings, seed, folder.policy), figures


def _trained_on_labels(
    settings: Settings,
    task: Task,
    envs: VectorEnv[Any, Any, Any],
    model: nn.Module,
    folder: RoundFolder,
    last: RoundFolder | None,
) -> tuple[Agent, dict[str, Any]]:
    """Train on all labels so far; return the agent and how well implicit rewards agree with them.

    As for a reward, a tenth of the prompts is held out.
    """
    fitted, held_out = _as_data(_all_labels(folder)).split()
    # Of the policy that wrote this round's pairs, before it learns from them.
    before = None if last is None else label_accuracy(model, envs, _as_data(_labels(folder)))
    seed = _seed(settings, folder, _POLICY)
    agent = train_on_labels(model, envs, fitted, settings, seed, folder.policy)
    return agent, {
        "pairs": len(fitted) + len(held_out),
        "train_pairs": len(fitted),
        "held_out_pairs": len(held_out),
        "held_out_accuracy": agent.preference_figures(held_out)["accuracy"],
        "previous_accuracy": before,
    }


def _as_data(labels: Sequence[Comparison]) -> PreferenceData:
    return PreferenceData(records=tuple(labels), kind="comparisons")


def _write_pairs(
    settings: Settings, envs: VectorEnv[Any, Any, Any], policy: Policy, folder: RoundFolder
) -> None:
    """Sample the round's pairs, and label them if the gold reward is the labeler."""
    seed = _seed(settings, folder, _PAIRS)
    sampled = sample_pairs(envs, policy, settings.pairs_per_round, (seed,))
    preferred: Sequence[Choices] = [None] * len(sampled.pairs)
    gold = base_environment(envs).task.gold
    if settings.labels == "gold" and gold is not None:
        generator = torch.Generator().manual_seed(_seed(settings, folder, _LABELS))
        said = gold_preferences(sampled, gold, settings.gold_temperature, generator)
        preferred = [(choice,) for choice in said]
    # The pairs come last: where they are, there is a file to fill in.
    write_pairs(folder.labels, sampled.pairs, preferred)
    write_pairs(folder.pairs, sampled.pairs, [None] * len(sampled.pairs))


def _labels(folder: RoundFolder) -> list[Comparison]:
    return read_labels(folder.labels, read_pairs(folder.pairs))


def _all_labels(folder: RoundFolder) -> list[Comparison]:
    """Return the labels of this round and those before."""
    folders = [RoundFolder(out=folder.out, number=n + 1) for n in range(folder.number)]
    return [label for one in folders for label in _labels(one)]


def _learn_reward(settings: Settings, envs: VectorEnv[Any, Any, Any], folder: RoundFolder) -> None:
    """Learn the reward from the labels of this round and those before, and write it down."""
    task = base_environment(envs).task
    labels = _all_labels(folder)
    seed = _seed(settings, folder, _REWARD)
    reference = reference_rollout(envs, settings.pairs_per_round, (seed,))
    fitted = fit_reward(task, labels, reference, settings, seed)
    figures = {
        "pairs": len(labels),
        "train_pairs": fitted.train_pairs,
        "held_out_pairs": len(fitted.held_out),
        "held_out_accuracy": accuracy(fitted.reward, fitted.held_out, task.tokenizer),
    }
    # The reward comes last: where it is, its figures are.
    write_round_metrics(folder.reward_figures, figures)
    save_reward(fitted.reward, folder.reward)


def _seed(settings: Settings, folder: RoundFolder, stream: int) -> int:
    """Return the seed of one step of one round."""
    sequence = np.random.SeedSequence([settings.seed, folder.number, stream])
    return int(sequence.generate_state(1)[0])


def _table(rounds: Sequence[dict[str, Any]]) -> Table:
    table = Table()
    for name in SHOWN:
        table.add_column(name.replace("_", " "), justify="right")
    for figures in rounds:
        table.add_row(*(_cell(figures.get(name)) for name in SHOWN))
    return table


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:d}" if isinstance(value, int) else f"{value:.3f}"
