"""Settings of agents that are typed as name=value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from studies.experiment.axes import Axes
from studies.experiment.build import make_agent, make_envs, make_task
from studies.experiment.checks import check_grid
from studies.experiment.further_settings import further_settings
from studies.experiment.grid import Budget, RunSettings, grid

# What a value is typed as, and what the agent gets.
TYPED: dict[str, tuple[str, str, Any]] = {
    "staleness": ("ppo", "2", 2),
    "behavior_noise": ("ppo", "0.1", 0.1),
    "top_k": ("ppo", "3", 3),
    "top_p": ("grpo", "0.9", 0.9),
    "dual_clip": ("grpo", "3", 3.0),
    "clip_range_high": ("dapo", "0.28", 0.28),
    "critic_gae_lambda": ("ppo", "1", 1.0),
    "length_adaptive_lambda": ("ppo", "0.05", 0.05),
    "critic_warmup_updates": ("ppo", "4", 4),
    "critic_learning_rate": ("ppo", "3e-4", 3e-4),
    "entropy_target": ("grpo", "0.5", 0.5),
    "importance": ("grpo", "token", "token"),
    "importance_cap": ("ppo", "none", None),
    "importance_band": ("grpo", "0.5:2", (0.5, 2.0)),
    "whiten_advantages": ("ppo", "False", False),
    "baseline": ("reinforce", "greedy", "greedy"),
}


@pytest.mark.parametrize("name", TYPED)
def test_a_value_has_the_type_of_the_agents_setting(name: str) -> None:
    agent, typed, value = TYPED[name]
    (found,) = further_settings(agent, f" {name} = {typed}").items()
    assert found == (name, value)
    assert type(found[1]) is type(value)


def test_no_text_and_the_word_default_name_nothing() -> None:
    assert further_settings("ppo", None) == further_settings("ppo", "default") == {}


def one_run(**changes: Any) -> RunSettings:
    axes = {"agent": ("ppo",), "gamma": (1.0,), "density": ("terminal",), "seeds": 1}
    (run,) = grid(Axes(**{**axes, "granularity": ("token",), **changes}), Budget())
    return run


def test_the_settings_reach_the_agent_and_its_identifier() -> None:
    run = one_run(set=("staleness=2,dual_clip=3",))
    task = make_task("toy15")
    config = make_agent(run, make_envs(run, task, "cpu")).config
    assert (config.staleness, config.dual_clip) == (2, 3.0)
    assert run.run_id.startswith("ppo-g1-terminal-token-l0.95-staleness_2_dual_clip_3-s0-")
    assert RunSettings.from_json(run.to_json()) == run
    # As before there was such an option.
    assert one_run().run_id == "ppo-g1-terminal-token-l0.95-s0"
    assert "set" not in one_run().to_json()


def test_an_agent_is_run_with_the_combinations_that_it_has() -> None:
    axes = Axes(
        agent=("ppo", "grpo", "reinforce", "best_of_n"),
        gamma=(1.0,),
        density=("terminal",),
        granularity=("token",),
        seeds=1,
        set=("staleness=2", "scale_by_std=false", "dual_clip=3,gradient_form=standard"),
    )
    check_grid(axes, Budget())
    found = [(run.agent, run.set) for run in grid(axes, Budget())]
    assert found == [
        *[("ppo", axes.set[0]), ("ppo", axes.set[2])],
        *[("grpo", one) for one in axes.set],
        ("reinforce", "staleness=2"),
        ("best_of_n", None),
    ]
    assert len({run.run_id for run in grid(axes, Budget())}) == len(found)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("staleness", "set must be of the form name=value,name=value, got 'staleness'"),
        ("staleness=", "must be of the form"),
        ("=2", "must be of the form"),
        ("gamma=0.9", "leave out gamma, which has an option of its own, got .*; use --gamma"),
        ("top_k=2,top_k=3", "must name top_k once"),
        ("stalenes=2", "must name settings of ppo, got 'stalenes'; did you mean 'staleness'"),
        ("foo=2", "must name settings of ppo, got 'foo'; docs/agents.md lists them"),
        ("staleness=soon", "must give staleness a value of type int, got 'soon'"),
        ("top_p=much", "must give top_p a value of type float or NoneType, got 'much'"),
        ("importance_band=0.5", "must give importance_band a value of type"),
        ("staleness=-1", "set must suit ppo, got 'staleness=-1': staleness must be"),
        ("minibatches=3", "set must suit ppo, got 'minibatches=3': minibatches must divide"),
    ],
)
def test_what_no_agent_can_use_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_grid(Axes(agent=("ppo",), set=(text,)), Budget())


def test_an_agent_of_ones_own_takes_what_its_constructor_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_with_more.py").write_text(
        "class Own:\n"
        "    def __init__(self, envs, *, gamma, seed, warmup=1, kind='a'): ...\n"
        "    def act(self, observation): ...\n"
        "    def update(self, rollout): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = further_settings("own_with_more:Own", "warmup=3,kind=b")
    assert found == {"warmup": 3, "kind": "b"}
    with pytest.raises(ValueError, match="settings of own_with_more:Own, got 'cooldown'"):
        further_settings("own_with_more:Own", "cooldown=1")
