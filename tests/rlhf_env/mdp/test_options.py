"""Options are checked before anything is loaded."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import pytest
import torch

import rlhf_env
from rlhf_env.mdp.options import Options
from rlhf_env.task import Task


def policy(input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    return torch.zeros(len(input_ids), 3)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("kl_coef", -0.1, "kl_coef must be a finite number >= 0, got -0.1"),
        ("kl_coef", math.nan, "got nan"),
        ("kl_coef", math.inf, "got inf"),
        ("kl_coef", "0.1", "got '0.1'"),
        ("kl_coef", True, "got True"),
        ("missing_eos_penalty", -1, "missing_eos_penalty must be a finite number >= 0, got -1"),
        ("missing_eos_penalty", None, "got None"),
        ("kl_penalty", "k1", r"one of \['reference', 'sampled', 'exact'\], got 'k1'"),
        ("kl_penalty", None, "got None"),
        ("length_limit", "truncate", r"\['score', 'penalize', 'bootstrap'\], got 'truncate'"),
        ("max_new_tokens", 0, "max_new_tokens must be an integer >= 1, got 0"),
        ("max_new_tokens", 8.0, "got 8.0"),
        ("max_new_tokens", True, "got True"),
        ("policy", "reference", "policy must be a function .* got str"),
        ("policy", policy, r'policy is not used by kl_penalty="reference"'),
        ("device", "gpu", 'device must be "auto", "cpu" or "cuda", got \'gpu\''),
        ("device", 1.5, "got 1.5"),
        ("dtype", "int64", "dtype must be .* got 'int64'"),
        ("dtype", "float33", "got 'float33'"),
        ("dtype", "nn", "got 'nn'"),
        ("dtype", torch.int64, "got torch.int64"),
    ],
)
def test_bad_values(name: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Options(**{name: value})


def test_exact_needs_a_policy() -> None:
    with pytest.raises(ValueError, match=r'kl_penalty="exact" needs policy=, got None'):
        Options(kl_penalty="exact")
    Options(kl_penalty="exact", policy=policy)
    Options(kl_penalty="sampled", policy=policy)


def test_auto() -> None:
    options = Options(device="cpu")
    assert options.resolve_device() == torch.device("cpu")
    assert options.resolve_dtype() is None
    assert Options(device="cpu", dtype="bfloat16").resolve_dtype() == torch.bfloat16
    assert Options(dtype=torch.float64).resolve_dtype() == torch.float64
    assert Options(device=torch.device("cpu")).resolve_device() == torch.device("cpu")


def test_no_model_is_loaded_before_options_are_checked() -> None:
    def factory() -> Task:
        raise AssertionError("the task was loaded")

    rlhf_env.register_task("never loaded", factory)
    for make in (gym.make, lambda *a, **k: gym.make_vec(*a, num_envs=2, **k)):
        with pytest.raises(ValueError, match="kl_coef must be"):
            make("RLHF-v0", task="never loaded", kl_coef=-1)
        with pytest.raises(ValueError, match=r"no option 'beta'; there are \['kl_coef'"):
            make("RLHF-v0", task="never loaded", beta=0.1)


def test_the_reference_runs_as_asked_and_the_task_stays_as_it_is(toy15: Task) -> None:
    env = gym.make("RLHF-v0", task=toy15, dtype="float64").unwrapped
    env.reset()
    assert env.step(1)[1] == pytest.approx(-1.109244, abs=1e-6)
    assert next(toy15.reference.parameters()).dtype == torch.float32


def test_unknown_ids_and_modules() -> None:
    with pytest.raises(gym.error.NameNotFound, match="RLHF"):
        gym.make("RHLF-v0")
    assert gym.make("rlhf_env:RLHF-v0", task="toy15").spec.id == "RLHF-v0"


@pytest.mark.parametrize("make", [gym.make, gym.make_vec])
def test_an_unknown_option_is_what_python_says_of_an_unknown_argument(make: Any) -> None:
    """torchrl's GymEnv tries ``frameskip`` and reads this message."""
    with pytest.raises(TypeError, match="got an unexpected keyword argument 'frameskip'"):
        make("RLHF-v0", task="toy15", frameskip=1)
