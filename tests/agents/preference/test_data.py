"""Feedback of every kind as groups of token ids: texts, files, rows and ids."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agents import DPO, ResponseGroup
from agents.preference.data import groups_rollout, read_groups
from rlhf_env.rewards import read_preferences
from rlhf_env.rewards.training.elements import encode_records
from rlhf_env.task import Task
from tests.agents.episodes import make_envs
from tests.agents.preference.preference_runs import gradient
from tests.toys import EOS, tiny_llama_task

NAN = math.nan


@pytest.fixture
def task() -> Task:
    return tiny_llama_task()


def matrix(group: ResponseGroup) -> list[list[float]]:
    return [[round(p, 4) if p == p else NAN for p in row] for row in group.preference.tolist()]


def same(left: list[list[float]], right: list[list[float]]) -> bool:
    return np.array_equal(np.array(left), np.array(right), equal_nan=True)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"prompt": "w2", "chosen": "w3", "rejected": "w4"}, [[0.5, 1], [0, 0.5]]),
        ({"prompt": "w2", "chosen": "w3", "rejected": "w4", "tie": True}, [[0.5, 0.5]] * 2),
        (
            {"prompt": "w2", "response_a": "w3", "response_b": "w4", "votes": ["a", "b", "a"]},
            [[0.5, 0.6667], [0.3333, 0.5]],
        ),
        (
            {"prompt": "w2", "response_a": "w3", "response_b": "w4", "winner": "b"},
            [[0.5, 1], [0, 0.5]],
        ),
        (
            {"prompt": "w2", "responses": ["w3", "w4", "w5"], "ranking": [2, 1, 2]},
            [[0.5, 0, 0.5], [1, 0.5, 1], [0.5, 0, 0.5]],
        ),
        (
            {
                "prompt": "w2",
                "responses": ["w3", "w4", "w5"],
                "preferences": [{"a": 0, "b": 2, "winner": "b"}, {"a": 0, "b": 2, "winner": "tie"}],
            },
            [[0.5, NAN, 0.25], [NAN, 0.5, NAN], [0.75, NAN, 0.5]],
        ),
        (
            {"prompt": "w2", "responses": ["w3", "w4"], "ratings": [1, 5]},
            [[0.5, 0], [1, 0.5]],
        ),
    ],
)
def test_comparisons_rankings_votes_and_ratings(row: Any, expected: Any, task: Task) -> None:
    (group,) = read_groups([row], task)
    assert same(matrix(group), expected)


def test_ratings_keep_their_scores(task: Task) -> None:
    rows = [{"prompt": "w2", "response": f"w{3 + i}", "rating": r} for i, r in enumerate((1, 4, 4))]
    (group,) = read_groups(rows, task)
    assert group.scores == (1.0, 4.0, 4.0)
    assert same(matrix(group), [[0.5, 0, 0], [1, 0.5, 0.5], [1, 0.5, 0.5]])


def test_margins_are_differences_of_scores(task: Task) -> None:
    (group,) = read_groups(
        [{"prompt": "w2", "chosen": "w3", "rejected": "w4", "margin": 1.5}], task
    )
    assert group.scores == (1.5, 0.0)
    assert groups_rollout(make_envs(task).mdp, [group]).score.tolist() == [1.5, 0.0]


def test_thumbs_of_one_prompt_compare_good_with_bad(task: Task) -> None:
    rows = [("w2", "w3", True), ("w2", "w4", False), ("w2", "w5", True), ("w6", "w7", True)]
    thumbs = [{"prompt": p, "completion": c, "label": label} for p, c, label in rows]
    with pytest.warns(UserWarning, match="1 of 2 without two different responses"):
        (group,) = read_groups(thumbs, task)
    assert same(matrix(group), [[0.5, 1, NAN], [0, 0.5, 0], [NAN, 1, 0.5]])
    alone = read_groups(thumbs, task, alone=True)
    assert [matrix(one) for one in alone] == [[[1.0]], [[0.0]], [[1.0]], [[1.0]]]


def test_a_list_alone_is_its_responses_with_the_share_they_beat(task: Task) -> None:
    row = {"prompt": "w2", "responses": ["w3", "w4", "w5"], "ranking": [2, 1, 2]}
    alone = read_groups([row], task, alone=True)
    assert [matrix(one) for one in alone] == [[[0.25]], [[1.0]], [[0.25]]]


IDS = ([2, 3], [5, 6, EOS], [4, EOS])


@pytest.mark.parametrize(
    "source",
    [
        [IDS],
        [tuple(torch.tensor(ids) for ids in IDS)],
        [dict(zip(("prompt", "chosen", "rejected"), IDS, strict=True))],
        [dict(zip(("prompt", "chosen", "rejected"), map(np.array, IDS), strict=True))],
        [ResponseGroup.pair(*IDS)],
        [("w2 w3", "w5 w6", "w4")],
        [{"prompt": "w2 w3", "chosen": "w5 w6", "rejected": "w4"}],
        (row for row in [{"prompt": "w2 w3", "chosen": "w5 w6", "rejected": "w4"}]),
        [{"prompt": [2, 3], "responses": [[5, 6, EOS], [4, EOS]], "ranking": [1, 2]}],
    ],
)
def test_texts_and_ids_are_one_pair(source: Any, task: Task) -> None:
    """Texts get their EOS, ids are taken as they are; the gradients are equal too."""
    (group,) = read_groups(source, task)
    assert group.prompt.tolist() == [2, 3]
    assert [ids.tolist() for ids in group.responses] == [[5, 6, EOS], [4, EOS]]
    assert same(matrix(group), [[0.5, 1], [0, 0.5]])


def test_a_file_teaches_what_its_rows_do(task: Task, tmp_path: Path) -> None:
    rows = [{"prompt": "w2 w3", "chosen": "w5 w6", "rejected": "w4"}]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = [
        gradient(DPO(make_envs(task), preferences=source, episodes_per_update=2))
        for source in (path, str(path), rows, read_preferences(rows), [IDS])
    ]
    assert all(torch.equal(found[0], other) for other in found)


def test_ids_are_those_of_reward_models(task: Task) -> None:
    """Pairs, demonstrations and reward models read one pair as the same ids."""
    rows = [{"prompt": "w2 w3", "chosen": " w5 w6", "rejected": "w4"}]
    (group,) = read_groups(rows, task)
    (element,) = encode_records(
        read_preferences(rows).records, task.tokenizer, lambda record, tokenizer: None
    )
    assert torch.equal(element.prompts[0], group.prompt)
    for mine, theirs in zip(group.responses, element.responses, strict=True):
        assert torch.equal(mine, theirs)


def test_what_is_too_long_or_identical_is_left_out_and_counted(task: Task) -> None:
    pair = {"prompt": "w2", "chosen": "w3", "rejected": "w4"}
    long = {"prompt": "w2", "chosen": "w3 " * 9, "rejected": "w4"}
    same_ids = {"prompt": "w2", "chosen": "w3", "rejected": " w3"}
    told = (
        "preferences left out: 1 of 3 longer than 5 prompt tokens and 8 response tokens; 1 of 3 "
        "without two different responses that were compared"
    )
    with pytest.warns(UserWarning, match=told):
        groups = read_groups([pair, long, same_ids], task)
    assert len(groups) == 1


def test_equal_responses_of_a_list_are_not_compared(task: Task) -> None:
    row = {"prompt": "w2", "responses": ["w3", " w3", "w5"], "ranking": [1, 2, 3]}
    (group,) = read_groups([row], task)
    assert same(matrix(group), [[0.5, NAN, 1], [NAN, 0.5, 1], [0, 0, 0.5]])


def test_chats(task: Task) -> None:
    task.tokenizer.chat_template = "{% for m in messages %}w9 {{ m['content'] }} {% endfor %}w8"
    row = {
        "prompt": [{"role": "user", "content": "w2"}],
        "chosen": [{"role": "assistant", "content": "w3"}],
        "rejected": [{"role": "assistant", "content": "w4"}],
    }
    (group,) = read_groups([row], task)
    assert group.prompt.tolist() == [9, 2, 8]
    assert [ids.tolist() for ids in group.responses] == [[3, EOS], [4, EOS]]


def test_pad_may_be_the_end_token(toy15: Task) -> None:
    """On "toy15" EOS is 0 and pads: in the prompt and in a response it counts where it stands."""
    pairs = [ResponseGroup.pair([0], [1, 0], [1, 1, 0])]
    rollout = DPO(make_envs(toy15), preferences=pairs, episodes_per_update=2).collect()
    by_length = sorted(rollout.is_action.int().tolist())
    assert by_length == [[0, 1, 1, 0], [0, 1, 1, 1]]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([], "preferences must hold at least one row, got none"),
        ("nowhere.jsonl", "preferences must be an existing file, got 'nowhere.jsonl'"),
        ([("w2", "w3")], "preferences 0 must be .prompt, chosen, rejected., a ResponseGroup, or"),
        ([{"prompt": [2], "chosen": [3]}], "preferences 0 must be"),
        ([{"prompt": "w2", "chosen": "w3"}], "preferences must have the columns"),
        ([([2], [3, EOS], [99, EOS])], "a response of preferences 0 holds the id 99"),
        ([([2], [], [3, EOS])], "a response of preferences 0 has no tokens"),
        ([("w2", " ", "w3")], "a response of preferences 0 must not be empty"),
        ([("w2", "nobody", "w3")], "a response of preferences 0 cannot be encoded"),
        ([([], [4], [3, EOS])], "the prompt of preferences 0 has no tokens"),
        ([([2], [3], [3])], "preferences must hold comparisons that can be used, got none .1 of 1"),
        (
            [{"prompt": "w2", "response": "w3", "spans": []}],
            "preferences must be comparisons, rankings, ratings or thumbs, got marked spans",
        ),
        ([{"prompt": "w2", "response": "w3", "rating": 4}], "got none .1 of 1 without two"),
        (7, "preferences must be a file, a data set or a list of rows, got 7"),
    ],
)
def test_what_cannot_be_used_is_refused(source: Any, message: str, task: Task) -> None:
    with pytest.raises(ValueError, match=message):
        read_groups(source, task)
