from __future__ import annotations

from typing import Any

import pytest

from studies.ablation.execute import execute
from studies.experiment.agent_names import AGENT_AXES, OFFERED, agent_fields, settings_of
from studies.experiment.axes import Axes
from studies.experiment.checks import check_grid
from studies.experiment.grid import Budget
from tests.studies.experiment.test_build import make_run
from tests.studies.own_agents import OpenPPO, Uniform

OWN = "tests.studies.own_agents"


def test_a_constructor_that_hands_kwargs_on_takes_what_its_base_takes():
    assert settings_of(OpenPPO) == set(OFFERED) - {"group_size"}
    assert agent_fields(f"{OWN}:OpenPPO") == AGENT_AXES - {"group_size"}
    assert settings_of(Uniform) == {"gamma", "seed"}


def test_a_function_that_takes_anything_takes_all():
    def made(envs: Any, **kwargs: Any) -> Uniform:
        return Uniform(envs, gamma=kwargs["gamma"], seed=kwargs["seed"])

    assert settings_of(made) == set(OFFERED)


def test_a_subclass_that_hands_kwargs_on_runs_as_its_base_does():
    own, base = (
        execute(make_run(agent=agent, group_size=None)).row for agent in (f"{OWN}:OpenPPO", "ppo")
    )
    assert own == base


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Demanding", "got a constructor that asks for table; give them a default"),
        ("NoUpdate", r"must have act\(observation\) and update\(rollout\), got a class without up"),
        ("np", "must be a class or function"),
    ],
)
def test_a_class_that_no_grid_can_make_is_refused_before_the_grid(name: str, message: str):
    with pytest.raises(ValueError, match=message):
        check_grid(Axes(agent=(f"{OWN}:{name}",)), Budget())


def test_a_constructor_without_a_place_for_the_environments_is_refused():
    with pytest.raises(ValueError, match="must take the environments as its first argument"):
        agent_fields(f"{OWN}:make_by_name_only")


def test_an_option_that_would_be_dropped_is_refused():
    axes = Axes(agent=("ppo", f"{OWN}:Uniform"))
    check_grid(axes, Budget())
    with pytest.raises(ValueError, match=r"learning_rate must be taken by .*, got 0.1 and"):
        check_grid(axes, Budget(learning_rate=0.1))
    alone = Axes(agent=(f"{OWN}:Uniform",), kl_placement=("loss",))
    with pytest.raises(ValueError, match="kl_placement must be a setting of one of the agents"):
        check_grid(alone, Budget())
