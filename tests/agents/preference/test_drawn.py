"""Comparisons of the reference's responses: their law, their seeds, and a reference without any."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import gymnasium as gym
import pytest
import torch

from agents.preference.drawn import drawn_pairs
from agents.preference.groups import ResponseGroup
from rlhf_env import Task, load_task
from tests.rlhf_env.toy15_tables import RESPONSES


def environment(task: Task) -> gym.vector.VectorEnv[Any, Any, Any]:
    return gym.make_vec("RLHF-v0", num_envs=256, task=task)


def sides(pairs: list[ResponseGroup]) -> list[list[tuple[int, ...]]]:
    return [[tuple(ids.tolist()) for ids in pair.responses] for pair in pairs]


def test_pairs_follow_the_law_of_the_reference_and_of_bradley_terry() -> None:
    """Of all pairs of different responses, labels agree with the better score in .758496."""
    drawn = sides(drawn_pairs(environment(load_task("toy15")), 2000, (0,)))
    scores = {tuple(t for t in ids if t >= 0): score for ids, (_, score) in RESPONSES.items()}
    ahead = [scores[better] - scores[worse] for better, worse in drawn]
    assert all(better != worse for better, worse in drawn)
    right = sum((margin > 0) + 0.5 * (margin == 0) for margin in ahead)
    assert right / len(drawn) == pytest.approx(0.758496, abs=0.03)


def test_fewer_pairs_are_the_first_of_more_and_seeds_differ() -> None:
    envs = environment(load_task("toy15"))
    many = sides(drawn_pairs(envs, 150, (0,)))
    assert sides(drawn_pairs(envs, 20, (0,))) == many[:20]
    assert sides(drawn_pairs(envs, 150, (1,))) != many
    assert all(pair.preference[0, 1] == 1.0 for pair in drawn_pairs(envs, 20, (0,)))


def test_a_reference_that_always_says_the_same_is_refused() -> None:
    task = load_task("toy15")
    certain = copy.deepcopy(task.reference)
    with torch.no_grad():
        for weights in certain.parameters():
            weights *= 1e4
    envs = environment(dataclasses.replace(task, reference=certain))
    with pytest.raises(ValueError, match="different responses to one prompt, got 0 of 5 pairs"):
        drawn_pairs(envs, 5, (0,))
