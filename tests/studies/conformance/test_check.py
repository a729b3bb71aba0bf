"""`scripts/check.py`: what a name stands for, the table, and the exit status."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlhf_env.testing import checks, kinds
from studies.cli.commands.check import main as check
from studies.conformance.settings import KINDS

MINE = """
from agents.math import clipped_surrogate, masked_mean


def ppo(logp, old, advantages, mask):
    return masked_mean(clipped_surrogate(logp - old, advantages, 0.2, 0.2), mask)


def wrong(logp, old, advantages, mask):
    return -((logp - old).exp().clamp(0.8, 1.2) * advantages)[mask].mean()


def score(prompts: list[str], responses: list[str]) -> list[float]:
    return [float(len(text)) for text in responses]


def something(x):
    return x
"""
WORDS = ["--kind", "policy_loss", "--names", "logprobs=logp", "old_logprobs=old"]


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path


def test_the_command_line_knows_every_kind() -> None:
    assert list(KINDS) == kinds()


def test_a_task_and_a_reward_pass(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(["toy15"]) == 0
    assert "0 do not" in capsys.readouterr().out
    assert check(["mine.py:score"]) == 0
    assert "mine.py:score, a reward" in capsys.readouterr().out


def test_a_loss_fails_at_what_is_wrong(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    skipped = ["--skip", "micro_batches_add_up"]
    assert check(["mine.py:ppo", *WORDS, "--form", "token_mean", *skipped]) == 0
    capsys.readouterr()
    assert check(["mine.py:wrong", *WORDS, *skipped]) == 1
    told = capsys.readouterr().out
    assert "good_actions_are_clipped_above_only" in told and "arXiv:1707.06347" in told


def test_all_checks_are_listed_with_their_sources(
    mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(["--list", "--kind", "gae"]) == 0
    told = capsys.readouterr().out
    assert all(each.name in told for each in checks("gae"))
    assert sum(len(checks(kind)) for kind in kinds()) >= 50
    assert all(each.claim and each.source for kind in kinds() for each in checks(kind))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "name what is to be checked"),
        (["toy15", "--kind", "tusk"], "--kind"),
        (["mine.py:something"], "say it by --kind"),
        (["mine.py:nothing"], "has no function 'nothing'"),
        (["toy15", "--form", "k1"], "for functions of tensors, got a task"),
        (["toy15", "--skip", "nothing"], "skip must name checks, got 'nothing'"),
        (["mine.py:ppo", "--kind", "policy_loss", "--names", "logprobs"], "ours=theirs"),
        (["mine.py:ppo", "--kind", "policy_loss", "--names", "log=logp"], "names must rename"),
    ],
)
def test_what_cannot_be_checked_is_one_sentence(
    mine: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    assert check(words) == 2
    told = capsys.readouterr().err
    assert sentence in told and told.count("\n") == 1
