"""The study of estimators: what it compares, and the rows and page that it writes."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
import torch

from agents import RLOO
from agents.exact_gradients import ExactGradients
from agents.exact_gradients.responses import every_response
from rlhf_env.tasks import load_task
from studies.cli.commands.estimators import main
from studies.estimators.cells import DISPUTES, SAMPLERS, cells
from studies.estimators.measure import verdict
from studies.estimators.policies import Policies
from studies.estimators.tables import page
from tests.agents.episodes import make_envs


def test_there_are_more_than_a_hundred_estimators() -> None:
    everything = cells(tuple(DISPUTES))
    names = [(cell.dispute, cell.estimator) for cell in everything]
    assert len(set(names)) == len(names) >= 100


def test_rows_and_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--disputes", "kl", "critic", "--draws", "20", "--out", str(tmp_path)]) == 0
    rows = pd.read_csv(tmp_path / "estimators.csv").set_index(["estimator", "policy"])
    assert rows.loc[("k1 in the reward, token", "near"), "verdict"] == "unbiased"
    assert rows.loc[("k3 in the loss, token", "middle"), "verdict"] == "biased"
    assert rows.loc[("k2 in the loss, bandit", "middle"), "verdict"] == "unbiased"
    assert rows.loc[("lambda 0.0, critic exact", "near"), "verdict"] == "unbiased"
    assert rows.loc[("lambda 0.95, critic zero", "near"), "verdict"] == "biased"
    assert rows["enumerated"].tolist() == [True] * len(rows)
    text = (tmp_path / "estimators.md").read_text()
    assert "## Lambda and the critic" in text
    assert text in capsys.readouterr().out


def test_a_dispute_that_there_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--disputes", "taste"]) == 2
    assert "disputes must be among kl, length" in capsys.readouterr().err


def test_samplers_are_not_the_policy() -> None:
    policies = Policies(load_task("toy15"), 0.5, seed=0)
    for name, settings in SAMPLERS.items():
        agent = RLOO(make_envs(policies.task), policy=policies.policy("middle"), **settings)
        responses = every_response(agent)
        own = agent.policy.evaluate_episodes(responses.rollout.tokens, responses.rollout.is_action)
        chances = own.logprobs.double().sum(dim=1).exp()
        assert not torch.allclose(responses.probability, chances, atol=1e-6), name
    assert (policies.behavior("1 update old") is policies.behavior("8 updates old")) is False


def test_critics() -> None:
    policies = Policies(load_task("toy15"), 0.5, seed=0)
    exact = policies.values("exact", policies.policy("reference"))
    assert exact[0].item() == pytest.approx(0.039595, abs=1e-6)
    assert torch.equal(exact, policies.values("of the reference", policies.policy("near")))


def gradients(expected: list[float], error: list[float] | None = None) -> ExactGradients:
    return ExactGradients(
        expected=torch.tensor(expected).double(),
        truth=torch.tensor([3.0, 4.0]).double(),
        variance=torch.ones(2).double(),
        covariance=None,
        unit_episodes=1,
        mean_length=2.0,
        effective_sample_size=1.0,
        standard_error=None if error is None else torch.tensor(error).double(),
    )


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (gradients([3.0, 4.0]), "unbiased"),
        (gradients([1.5, 2.0]), "unbiased up to a factor"),
        (gradients([3.0, 4.1]), "biased"),
        (gradients([3.0, 4.1], [0.1, 0.1]), "not told apart"),
        (gradients([1.5, 2.1], [0.1, 0.1]), "not told apart up to a factor"),
        (gradients([3.0, 5.0], [0.1, 0.1]), "biased"),
    ],
)
def test_verdicts(found: ExactGradients, said: str) -> None:
    assert verdict(found) == said


def test_the_page_quotes_the_rows() -> None:
    """The tables beside the page are those of its rows, and the page's figures are among them."""
    folder = Path(__file__).parents[3] / "docs" / "results"
    rows = pd.read_csv(folder / "estimators" / "estimators.csv")
    tables = (folder / "estimators" / "estimators.md").read_text()
    assert tables == page(rows)
    text = (folder / "estimators.md").read_text()
    quoted = set(re.findall(r"(?<![\d.])\d+\.\d{3}(?!\d)", text))
    assert len(quoted) > 50
    assert quoted <= set(re.findall(r"\d+\.\d{3}", tables))
