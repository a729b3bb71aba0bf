"""The examples of docs/custom-agents.md run as they stand, and learn."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from agents import Agent
from agents.training.checkpoints.checkpoint_files import find_corruption
from rlhf_env.exact.enumerated import TokenProbabilities
from rlhf_env.tasks import load_task
from tests.agents.episodes import every_toy15_episode, make_envs

PAGE = Path(__file__).parents[2] / "docs" / "custom-agents.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
OPTIMUM = 1.125295


@pytest.fixture(scope="module")
def ran() -> list[dict[str, Any]]:
    """The names that each example leaves behind; dataclasses look their module up by name."""
    spaces: list[dict[str, Any]] = []
    for number, example in enumerate(EXAMPLES):
        # The third goes on from the second.
        names: dict[str, Any] = {**(spaces[1] if number == 2 else {}), "__name__": __name__}
        exec(compile(example, f"example {number}", "exec"), names)
        spaces.append(names)
    return spaces


def test_both_levels_have_an_example_and_the_exact_value_one() -> None:
    assert len(EXAMPLES) == 3


def test_an_agent_that_tells_its_probabilities_is_judged_exactly(
    ran: list[dict[str, Any]],
) -> None:
    assert isinstance(ran[2]["told"], TokenProbabilities)


@pytest.mark.parametrize("number", [0, 1])
def test_the_example_learns(ran: list[dict[str, Any]], number: int) -> None:
    assert ran[number]["reached"] >= 0.95 * OPTIMUM


def test_an_algorithm_s_agent_is_saved_and_loaded(
    ran: list[dict[str, Any]], tmp_path: Path
) -> None:
    agent, envs, rule = ran[0]["agent"], ran[0]["envs"], ran[0]["Reinforce"]()
    agent.save(tmp_path / "a")
    assert find_corruption(tmp_path / "a") is None
    loaded = Agent.load(tmp_path / "a", envs, algorithm=rule)
    episodes = every_toy15_episode(agent)
    for field in ("logprobs", "values"):
        first, second = (
            getattr(one.policy.evaluate_episodes(episodes.tokens, episodes.is_action), field)
            for one in (agent, loaded)
        )
        assert torch.equal(first, second)


@dataclass(frozen=True)
class Aim:
    scale: Any


class Careless:
    """An algorithm that makes one of the usual mistakes."""

    def __init__(self, scale: Any, loss: Any) -> None:
        self.scale, self._loss = scale, loss

    def targets(self, rollout: Any, old: Any, reference: Any) -> Any:
        return self.scale if isinstance(self.scale, dict) else Aim(self.scale)

    def loss(self, rollout: Any, new: Any, old: Any, targets: Aim) -> Any:
        return self._loss(new)


@pytest.mark.parametrize(
    ("scale", "loss", "message"),
    [
        (2.0, None, "Aim must hold tensors of B rows, got float; keep what is not per episode"),
        (
            torch.ones(8),
            lambda new: (new.logprobs.mean(), {}),
            r"losses of one number per episode, \[8\], got \[\]; leave the mean",
        ),
        (
            torch.ones(8),
            lambda new: (new.logprobs.sum(1), {"spread": new.logprobs.std()}),
            r"spread of one number per episode, \[8\], got \[\]",
        ),
        ({"scale": 1}, None, r"must return a dataclass of tensors with 8 rows, got dict; write @"),
        (torch.ones(9), None, r"each of 8 episodes, got scale of shape \[9\]; expand it"),
        (torch.tensor(2.0), None, r"each of 8 episodes, got scale of shape \[\]"),
        (
            torch.ones(8),
            lambda new: new.logprobs.sum(1),
            r"a pair of losses \[8\] and a dictionary of diagnostics, got Tensor; write return",
        ),
        (torch.ones(8), lambda new: None, "a dictionary of diagnostics, got NoneType"),
        (
            torch.ones(8),
            lambda new: (new.logprobs.sum(1), new.logprobs.sum(1)),
            r"got a tuple of \['Tensor', 'Tensor'\]",
        ),
        (
            torch.ones(8),
            lambda new: (new.logprobs.sum(1), {"size": 1.0}),
            r"size of one number per episode, \[8\], got float",
        ),
        (
            torch.ones(8),
            lambda new: (new.logprobs.sum(1), {3: new.logprobs.sum(1)}),
            "must name its diagnostics by texts, got 3",
        ),
        (
            torch.ones(8),
            lambda new: (new.logprobs.sum(1).detach(), {}),
            r"losses with a gradient, got some without; compute them from new",
        ),
        (
            torch.ones(8),
            lambda new: (new.logprobs.sum(1) - torch.tensor([0.0] * 7 + [math.inf]), {}),
            r"the loss of episode \d is -inf, .* weights are unchanged: look at what targets\(\)",
        ),
        (
            torch.ones(8),
            lambda new: (new.logprobs.sum(1) * math.nan, {}),
            r"the loss of episode \d is nan, expected a finite number; the weights are unchanged",
        ),
        (
            torch.ones(8),
            lambda new: (new.logprobs.sum(1), {"score": new.logprobs.sum(1)}),
            r"update\(rollout\) must not return 'score'",
        ),
    ],
)
def test_the_usual_mistakes_of_an_algorithm_are_told(scale: Any, loss: Any, message: str) -> None:
    rule = Careless(scale, loss)
    agent = Agent(make_envs(load_task("toy15")), algorithm=rule, episodes_per_update=8)
    with pytest.raises(ValueError, match=message):
        agent.learn(8, progress=False)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (object(), r"algorithm must have targets\(.* and loss\(.*, got object without targets"),
        (Careless, r"algorithm must be an object, got the class Careless; make one of it"),
        (lambda: None, "got function without targets"),
    ],
)
def test_what_is_no_algorithm_is_told_at_once(rule: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Agent(make_envs(load_task("toy15")), algorithm=rule)
