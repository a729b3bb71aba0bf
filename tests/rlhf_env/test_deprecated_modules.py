"""Module paths of earlier versions."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

import agents
from agents.rollouts import kl_reward
from rlhf_env.deprecated_modules import MOVED


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "always::DeprecationWarning:__main__", "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("new", sorted(set(MOVED.values())))
def test_every_new_path_exists(new: str) -> None:
    assert importlib.util.find_spec(new) is not None


def test_no_old_path_hides_a_module_or_a_public_name() -> None:
    for old in MOVED:
        parent, _, name = old.rpartition(".")
        package = importlib.import_module(parent)
        assert name not in getattr(package, "__all__", ()), old


def test_the_old_path_is_the_new_module_and_warns_once_with_both_names() -> None:
    code = """
import sys
from agents.decisions import first_of_decision
import agents.decisions, agents.rollouts.decisions as new
from agents.decisions import first_of_decision
assert sys.modules["agents.decisions"] is new is agents.decisions
assert new.__name__ == new.__spec__.name == "agents.rollouts.decisions"
assert first_of_decision is new.first_of_decision
"""
    done = run(code)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("DeprecationWarning") == 1
    assert (
        "agents.decisions is now agents.rollouts.decisions; the old path stops working in "
        "version 0.2" in done.stderr
    )


def test_an_old_path_of_the_environment_needs_no_other_import_first() -> None:
    done = run("import rlhf_env.language_model as m; print(m.__name__)")
    assert done.stdout.strip() == "rlhf_env.engine.language_model", done.stderr


def test_importing_the_package_imports_none_of_them_and_says_nothing() -> None:
    done = run("import rlhf_env, agents, sys; print('torch' in sys.modules)")
    assert done.stdout.strip() == "False"
    assert done.stderr == ""


def test_an_unknown_module_is_still_not_found() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'agents\.nothing'"):
        importlib.import_module("agents.nothing")


def test_old_names_are_the_new_ones_and_warn() -> None:
    with pytest.warns(DeprecationWarning, match=r"agents.Description is now agents.PolicyOutput"):
        assert agents.Description is agents.PolicyOutput  # type: ignore[attr-defined]
    with pytest.warns(DeprecationWarning, match=r"close_kl is now .*kl_reward.add_policy_logprob"):
        from agents.rollouts.kl_reward import close_kl  # type: ignore[attr-defined]
    assert close_kl is kl_reward.add_policy_logprob
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = kl_reward.nothing  # type: ignore[attr-defined]
