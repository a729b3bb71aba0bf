"""Checks of arguments: what they refuse, what they say, and that they need no torch."""

from __future__ import annotations

import inspect
import math
import subprocess
import sys
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from rlhf_env import defaults
from rlhf_env.checks import check_choice, check_count, check_number, check_positive, did_you_mean
from rlhf_env.task import Task
from rlhf_env.tasks import load_task


@pytest.mark.parametrize("value", [0, 0.0, 1, np.float32(0.5), np.int64(2), Fraction(1, 2)])
def test_numbers_of_every_kind(value: Any) -> None:
    check_number("kl_coef", value, minimum=0.0)


@pytest.mark.parametrize("value", [math.nan, math.inf, "1", None, True, 1j, -1, 10**400])
def test_not_a_number_in_bounds(value: Any) -> None:
    with pytest.raises(ValueError, match="kl_coef must be a finite number >= 0, got"):
        check_number("kl_coef", value, minimum=0.0)


def test_bounds() -> None:
    check_number("gamma", 1.0, minimum=0.0, maximum=1.0)
    with pytest.raises(ValueError, match=r"gamma must be a number in \[0, 1\], got 1.2"):
        check_number("gamma", 1.2, minimum=0.0, maximum=1.0)
    check_count("rows", np.int64(2), minimum=2)
    with pytest.raises(ValueError, match="rows must be an integer >= 2, got 1"):
        check_count("rows", 1, minimum=2)


@pytest.mark.parametrize("value", [0, -1.0, math.nan, math.inf, 10**400, True, "2"])
def test_not_positive(value: Any) -> None:
    check_positive("lr", 1e-9)
    with pytest.raises(ValueError, match="lr must be a finite number greater than 0, got"):
        check_positive("lr", value)


def test_a_choice() -> None:
    check_choice("unit", "token", ("token", "sequence"))
    with pytest.raises(ValueError, match=r"unit must be one of \['token', 'sequence'\], got 'tok'"):
        check_choice("unit", "tok", ("token", "sequence"))


def test_the_nearest_name() -> None:
    names = ["kl_coef", "device", "GRPO"]
    assert did_you_mean("kl_coeff", names) == "; did you mean 'kl_coef'?"
    assert did_you_mean("grpo", names) == "; did you mean 'GRPO'?"
    assert did_you_mean("temperature", names) == ""
    assert did_you_mean("value_coef", names, similarity=0.75) == ""


def test_defaults_are_those_of_a_task() -> None:
    limits = {
        "max_prompt_tokens": defaults.MAX_PROMPT_TOKENS,
        "max_new_tokens": defaults.MAX_NEW_TOKENS,
        "kl_coef": defaults.KL_COEF,
    }
    for made in (Task, Task.from_pretrained):
        parameters = inspect.signature(made).parameters
        assert {name: parameters[name].default for name in limits} == limits


def test_horizons_are_those_of_the_built_in_tasks() -> None:
    made = {name: load_task(name).max_new_tokens for name in defaults.HORIZONS}
    assert made == defaults.HORIZONS


def test_a_command_line_needs_no_torch() -> None:
    names = "rlhf_env.checks, rlhf_env.defaults, rlhf_env.tasks"
    code = f"import sys, {names}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
