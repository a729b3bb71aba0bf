from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from agents.settings import BUILT_IN_AGENTS, BuiltInAgent
from rlhf_env import load_task
from rlhf_env.defaults import HORIZONS
from studies.experiment.agent_names import (
    AGENT_AXES,
    agent_fields,
    settings_of,
    takes_preferences,
)
from studies.experiment.axes import Axes
from studies.experiment.checks import check_grid
from studies.experiment.grid import Budget, RunSettings, count_runs, grid
from studies.experiment.names import entropy_threshold, tokens_per_action
from studies.experiment.references import import_object
from studies.experiment.task.spec import OwnTask


def test_the_default_grid_has_120_runs():
    runs = grid(Axes(), Budget())
    assert len(runs) == 120
    assert len({run.run_id for run in runs}) == 120


def test_a_setting_that_an_agent_lacks_does_not_multiply_its_runs():
    axes = Axes(
        gamma=(1.0,),
        density=("terminal",),
        granularity=("token",),
        gae_lambda=(0.9, 0.95, 1.0),
        group_size=(2, 4),
        seeds=1,
    )
    runs = grid(axes, Budget())
    assert [(run.agent, run.gae_lambda, run.group_size) for run in runs] == [
        ("ppo", 0.9, None),
        ("ppo", 0.95, None),
        ("ppo", 1.0, None),
        ("grpo", None, 2),
        ("grpo", None, 4),
    ]


def test_seeds_turn_slowest_and_begin_where_asked():
    axes = Axes(agent=("ppo",), density=("terminal",), granularity=("token",), seeds=2)
    axes_from_7 = Axes(**{**vars(axes), "first_seed": 7})
    assert [(r.seed, r.gamma) for r in grid(axes_from_7, Budget())] == [
        (7, 0.9),
        (7, 1.0),
        (8, 0.9),
        (8, 1.0),
    ]


def make_run(**changes: object) -> RunSettings:
    fields = {
        "agent": "ppo",
        "gamma": 0.99,
        "density": "every_8",
        "granularity": "macro_4",
        "gae_lambda": 0.95,
        "kl_coef": None,
        "group_size": None,
        "seed": 3,
        "budget": Budget(),
    }
    return RunSettings(**{**fields, **changes})  # type: ignore[arg-type]


def test_run_ids_are_readable_and_stable():
    assert make_run().run_id == "ppo-g0.99-every_8-macro_4-l0.95-s3"


@pytest.mark.parametrize("agent", ["my.module:Class", "../../etc:x", "a" * 300, "µ:ü"])
def test_run_ids_are_safe_file_names(agent: str):
    name = make_run(agent=agent).run_id
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,100}", name)


def test_run_ids_tell_apart_what_looks_alike():
    names = {make_run(agent=a).run_id for a in ("a:b_c", "a_b:c", "a:b.c")}
    gammas = {make_run(gamma=g).run_id for g in (0.9999999, 0.99999999)}
    assert len(names) == 3
    assert len(gammas) == 2


def test_numbered_names_give_their_numbers():
    assert make_run().every_k == 8
    assert tokens_per_action(make_run().granularity) == 4
    assert make_run(density="every_k", budget=Budget(every_k=5)).every_k == 5
    assert make_run(density="terminal").every_k is None
    assert make_run(density="prefix_difference").every_k == 1
    assert tokens_per_action("bandit") is None
    assert tokens_per_action("macro_entropy_0.5") is None
    assert entropy_threshold("macro_entropy_0.5") == 0.5
    assert entropy_threshold("macro_4") is None


def test_settings_survive_json():
    own = OwnTask(prompts=Path("a b.txt"), reward="mine:score")
    run = make_run(kl_coef=0.05, kl_estimator="k3", budget=Budget(task="", model="gpt2", own=own))
    assert RunSettings.from_json(json.loads(json.dumps(run.to_json()))) == run


@pytest.mark.parametrize(
    ("axes", "budget", "message"),
    [
        ({"agent": ("pppo",)}, {}, "agent must be one of ppo, grpo, .*'pppo'; did you mean 'ppo'"),
        ({"density": ("terminl",)}, {}, "density must be.*'terminl'; did you mean 'terminal'"),
        ({"density": ("every_0",)}, {}, "density must be one of.*'every_0'; write every_ and a"),
        ({"granularity": ("tokens",)}, {}, "granularity must be.*; did you mean 'token'"),
        ({"granularity": ("macro_N",)}, {}, "granularity must be.*'macro_N'; write macro_ and a"),
        ({"gamma": (1.2,)}, {}, "gamma must be a number from 0 to 1, got 1.2"),
        ({"gamma": (float("nan"),)}, {}, "gamma must be a number from 0 to 1, got nan"),
        ({"gamma": (0.9, 0.9)}, {}, "gamma must not repeat a value, got 0.9"),
        ({"gamma": ()}, {}, "gamma must have at least one value, got none"),
        ({"gae_lambda": (2.0,)}, {}, "gae_lambda must be a number from 0 to 1, got 2"),
        ({"kl_coef": (-0.1,)}, {}, "kl_coef must be a finite number >= 0, got -0.1"),
        ({"kl_coef": (float("inf"),)}, {}, "kl_coef must be a finite number >= 0, got inf"),
        ({"group_size": (5,)}, {}, "group_size must divide episodes_per_update = 32, got 5.*is 4"),
        ({"agent": ("nash_md",)}, {}, "group_size must suit nash_md, got 4: .*needs group_size=2"),
        ({"agent": ("dpo", "xpo"), "group_size": (2, 4)}, {}, "group_size must suit xpo, got 4"),
        ({"group_size": (1,)}, {}, "group_size must be a whole number of at least 2, got 1"),
        ({"seeds": 0}, {}, "seeds must be a whole number of at least 1, got 0"),
        ({"first_seed": -1}, {}, "first_seed must be a whole number of at least 0, got -1"),
        ({}, {"updates": -1}, "updates must be a whole number of at least 0, got -1"),
        ({}, {"updates": 10_000_001}, "updates must be .* at most 10000000, got 10000001"),
        ({}, {"eval_episodes": 10**8}, "eval_episodes must be .* at most 10000000, got 1000"),
        ({}, {"episodes_per_update": 10**8}, "episodes_per_update must be .* at most 10000000"),
        ({"first_seed": 2**63 - 4}, {}, "first_seed must be .* most 9223372036854775803, got"),
        ({"seeds": 10_000}, {}, "at most 100,000 runs, got 240,000; give fewer"),
        ({"agent": ("ppo",), "group_size": (0,)}, {}, "group_size must be .* at least 2, got 0"),
        (
            {"density": ("every_1", "every_k")},
            {},
            "every_1 and every_k, which both pay every 1",
        ),
        ({"density": ("prefix_difference", "every_k")}, {}, "name the same twice"),
        ({"density": ("every_4",)}, {}, "density must be of at most the task's 3 tokens, got eve"),
        ({"density": ("every_k",)}, {"every_k": 4}, "task's 3 tokens, got every_k with 4"),
        ({"granularity": ("macro_41",)}, {"task": "reviews"}, "40 tokens, got macro_41 with 41"),
        ({"granularity": ("macro",)}, {}, "write macro_ and a number, such as macro_2"),
        ({"granularity": ("macro_0",)}, {}, "write macro_ and a number, such as macro_2"),
        ({"agent": ("PPO",)}, {}, "did you mean 'ppo'"),
        (
            {"agent": ("builtins:dict",)},
            {},
            "'builtins:dict' must take .* gamma, seed",
        ),
        ({"agent": ("math:pi",)}, {}, "agent must be a class or function, got 'math:pi', a float"),
        ({}, {"task": "studies.experiment:grid"}, "task must be a class or function, .* a module"),
        ({}, {"task": "rlhf_env:load_task"}, "without arguments .* which asks for name"),
        ({}, {"task": "rlhf_env:load_tsk"}, "did you mean 'load_task'"),
        (
            {"density": ("terminal", "every_2")},
            {"every_k": 2},
            "got 2 with terminal, every_2",
        ),
        ({}, {"every_k": 0}, "every_k must be a whole number of at least 1, got 0"),
        ({}, {"learning_rate": -1.0}, "learning_rate must be a finite number >= 0, got -1"),
        ({}, {"task": "toy16"}, "task must be one of.*'toy16'; did you mean 'toy15'"),
        ({}, {"task": "nowhere:x"}, "task must be given as module:name.*nowhere"),
        ({"agent": ("nowhere:X",)}, {}, "agent must be given as module:name.*nowhere"),
        ({"agent": ("json:dump",)}, {}, "agent 'json:dump' must need no arguments .* asks for fp"),
        ({"agent": ("json:dmp",)}, {}, "no class or function 'dmp'; did you mean 'dump'"),
        ({"agent": ("ppo",)}, {"episodes_per_update": 30}, "multiple of 4.*of ppo, got 30"),
    ],
)
def test_what_cannot_be_run_is_refused(axes: dict, budget: dict, message: str):
    with pytest.raises(ValueError, match=message):
        check_grid(Axes(**axes), Budget(**budget))


@pytest.mark.parametrize("task", ["toy15", "reviews"])
def test_the_horizons_are_those_of_the_tasks(task: str):
    assert load_task(task).max_new_tokens == HORIZONS[task]


def test_runs_are_counted_as_they_are_listed():
    axes = Axes(gae_lambda=(0.9, 0.95, 1.0), group_size=(2, 4), kl_coef=(0.1, 0.2), seeds=3)
    assert count_runs(axes, Budget()) == len(grid(axes, Budget())) == 360


def test_a_task_that_its_package_imports_late_is_found():
    check_grid(Axes(), Budget(task="rlhf_env.tasks.toy15:toy15_task"))
    check_grid(Axes(agent=("nash_md", "dpo"), group_size=(2,)), Budget())
    assert {"reviews", "toy15"} <= set(import_object("rlhf_env:task_names", "task")())


def test_what_can_be_run_is_accepted():
    axes = Axes(gamma=(0.0, 1.0), density=("every_8", "every_k"), granularity=("macro_2",))
    check_grid(axes, Budget(task="reviews", learning_rate=0.0))


def test_tasks_and_models_are_axes():
    axes = Axes(agent=("ppo",), gamma=(1.0,), density=("terminal",), granularity=("token",))
    one = {**vars(axes), "seeds": 1}
    tasks = grid(Axes(**{**one, "task": ("toy15", "reviews")}), Budget())
    assert [(run.task_name, run.run_id) for run in tasks] == [
        ("toy15", "ppo-g1-terminal-token-l0.95-s0"),
        ("reviews", "reviews-ppo-g1-terminal-token-l0.95-s0"),
    ]
    both = {**one, "task": ("toy15",), "model": ("a/b", "a_b")}
    mixed = grid(Axes(**both), Budget())
    assert [run.task_name for run in mixed] == ["toy15", "a/b", "a_b"]
    assert [run.budget.model for run in mixed] == [None, "a/b", "a_b"]
    assert len({run.run_id for run in mixed}) == 3
    alone = grid(Axes(**{**one, "model": ("a/b",)}), Budget())
    assert [run.task_name for run in alone] == ["a/b"]


def test_how_the_kl_enters_is_an_axis_when_it_is_asked_for():
    axes = Axes(gamma=(1.0,), density=("terminal",), granularity=("token",), seeds=1)
    assert {(run.kl_placement, run.kl_estimator) for run in grid(axes, Budget())} == {(None, None)}
    more = {"kl_placement": ("reward", "loss"), "kl_estimator": ("k1", "k3")}
    runs = grid(Axes(**{**vars(axes), **more}), Budget())
    assert len(runs) == 8
    assert runs[3].run_id == "ppo-g1-terminal-token-l0.95-loss-k3-s0"


@dataclass(frozen=True)
class NoSettings:
    """Of an agent that has none."""


def test_an_agent_without_a_discount_is_not_run_once_per_discount(monkeypatch: pytest.MonkeyPatch):
    plain = BuiltInAgent(path="agents:PPO", config_class=NoSettings)
    monkeypatch.setitem(cast(dict[str, BuiltInAgent], BUILT_IN_AGENTS), "plain", plain)
    axes = Axes(agent=("plain",), density=("terminal",), granularity=("token",), seeds=1)
    (run,) = grid(axes, Budget())
    assert (run.gamma, run.gae_lambda, run.group_size) == (None, None, None)
    assert run.run_id == "plain-terminal-token-s0"


@pytest.mark.parametrize("name", list(BUILT_IN_AGENTS))
def test_an_agent_varies_along_the_axes_that_it_has(name: str):
    known = BUILT_IN_AGENTS[name]
    kind = known.load()
    config = kind.config_class(**known.preset)
    refused = getattr(config, "unsupported", frozenset())
    has = {axis for axis in AGENT_AXES - refused if hasattr(config, axis)}
    # Every agent has a group size, but one that does not compare within groups leaves it at 1.
    # Those of single responses may have one: a response is good if it beats the others.
    is_alone = config.group_size == 1 and name not in ("kto", "bco", "dro")
    assert agent_fields(name) == has - ({"group_size"} if is_alone else set())
    assert known.minibatches == getattr(config, "minibatches", 1)


@pytest.mark.parametrize(
    ("axes", "own", "message"),
    [
        ({"kl_placement": ("rewards",)}, {}, "kl_placement must be one of reward, loss.*'reward'"),
        ({"kl_estimator": ("k4",)}, {}, "kl_estimator must be one of k1, k2, k3, got 'k4'"),
        ({"task": ("toy15", "toy15")}, {}, "task must not repeat a value, got toy15"),
        ({"task": ("toy15", "revews")}, {}, "'revews'; did you mean 'reviews'"),
        ({"task": ("reviews", "toy15"), "granularity": ("macro_4",)}, {}, "3 tokens, got macro_4"),
        ({"granularity": ("macro_punct",)}, {}, "did you mean 'macro_punctuation'"),
        ({"granularity": ("macro_entropy",)}, {}, "write macro_entropy_ and a number, such as mac"),
        ({"granularity": ("macro_entropy_-1",)}, {}, "a number, such as macro_entropy_0.9"),
        ({"model": ("gpt2",)}, {}, "--model needs --prompts, got none"),
        ({"model": ("./no",)}, {"prompts": Path("p"), "reward": "a:b"}, "'./no', which is no f"),
        ({}, {"reward": "a:b"}, "--reward goes with --model, got 'a:b' without one"),
        ({}, {"max_new_tokens": 0}, "--max-new-tokens must be a whole number of at least 1"),
        ({"density": ("every_3",)}, {"max_new_tokens": 2}, "2 tokens, got every_3 with 3"),
    ],
)
def test_what_cannot_be_a_grid_of_tasks_is_refused(axes: dict, own: dict, message: str):
    with pytest.raises(ValueError, match=message):
        check_grid(Axes(**axes), Budget(own=OwnTask(**own)))


OFFLINE = {
    "agent": ("dpo", "ppo"),
    "gamma": (1.0,),
    "density": ("terminal", "potential"),
    "granularity": ("token",),
    "group_size": (2, 4),
    "preference_pairs": (200, 1000),
    "seeds": 1,
}


def test_the_number_of_pairs_is_an_axis_of_agents_that_take_them():
    """They are paid nothing and draw no groups, so densities and group sizes are not theirs."""
    runs = grid(Axes(**OFFLINE), Budget())
    assert [(run.agent, run.density, run.group_size, run.preference_pairs) for run in runs] == [
        ("dpo", "terminal", None, 200),
        ("dpo", "terminal", None, 1000),
        ("ppo", "terminal", None, None),
        ("ppo", "potential", None, None),
    ]
    assert count_runs(Axes(**OFFLINE), Budget()) == 4
    assert runs[0].run_id == "dpo-g1-terminal-token-p200-s0"
    assert runs[2].run_id == "ppo-g1-terminal-token-l0.95-s0"
    for run in runs:
        assert RunSettings.from_json(json.loads(json.dumps(run.to_json()))) == run
    assert "preference_pairs" not in runs[2].to_json()


def test_without_pairs_agents_of_comparisons_learn_online():
    online = {**OFFLINE, "preference_pairs": (), "agent": ("dpo",)}
    runs = grid(Axes(**online), Budget())
    assert {(run.density, run.group_size, run.preference_pairs) for run in runs} == {
        (density, size, None) for density in ("terminal", "potential") for size in (2, 4)
    }
    assert runs[0].run_id == "dpo-g1-terminal-token-n2-s0"


def test_hashes_of_runs_without_pairs_are_those_of_earlier_versions():
    """The names hold a hash of all settings where characters are replaced."""
    names = [make_run(agent="a:b", preference_pairs=n).run_id for n in (None, 10, 20)]
    assert names[0] == "a_b-g0.99-every_8-macro_4-l0.95-s3-5c4c2cc1"
    assert len(set(names)) == 3
    assert len({name.rpartition("-")[2] for name in names}) == 3


@pytest.mark.parametrize("name", list(BUILT_IN_AGENTS))
def test_who_takes_comparisons_is_known_without_torch(name: str):
    takes = "preferences" in settings_of(BUILT_IN_AGENTS[name].load(), ("preferences",))
    plays_itself = name in ("dno", "nash_md", "xpo")
    assert takes_preferences(name) == (takes and not plays_itself)
    assert takes_preferences("agents:DPO")
    assert not takes_preferences("agents:PPO")


@pytest.mark.parametrize(
    ("axes", "budget", "message"),
    [
        ({"agent": ("ppo", "grpo")}, {}, "agent that learns from given comparisons, got ppo, grpo"),
        ({"agent": ("ppo", "dno")}, {}, "comparisons, got ppo, dno; add one, such as dpo, or"),
        ({"preference_pairs": (1,)}, {}, "preference_pairs must be a whole number of at least 2"),
        ({"preference_pairs": (2_000_000,)}, {}, "preference_pairs must be .* at most 1000000"),
        ({"preference_pairs": (200, 200)}, {}, "preference_pairs must not repeat a value, got 200"),
        ({"agent": ("dpo",)}, {"episodes_per_update": 9}, "multiple of 2, the group size of dpo"),
        ({"agent": ("lipo",)}, {"episodes_per_update": 30}, "multiple of 4, the group size of li"),
        ({"density": ("every_4", "terminal")}, {}, "task's 3 tokens, got every_4"),
        ({"granularity": ("macro_4",)}, {}, "task's 3 tokens, got macro_4"),
    ],
)
def test_what_cannot_be_learned_from_pairs_is_refused(axes: dict, budget: dict, message: str):
    with pytest.raises(ValueError, match=message):
        check_grid(Axes(**{**OFFLINE, **axes}), Budget(**budget))


def test_a_group_size_does_not_bind_agents_that_draw_no_groups():
    own = {**OFFLINE, "agent": ("dpo",), "group_size": (4,)}
    check_grid(Axes(**own), Budget(episodes_per_update=6))
