"""Rewards that hang, or that draw from everybody's random numbers."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rlhf_env.rewards import OwnRandomness, PrefixReward, TimeLimit
from rlhf_env.rewards.protocol import as_reward, score
from tests.toys import EOS, FavoriteTokenReward, tiny_tokenizer

ROOT = Path(__file__).parents[3]
PROMPTS = [torch.tensor([2]), torch.tensor([3, 4])]
RESPONSES = [torch.tensor([5, 6, EOS]), torch.tensor([EOS])]


def words(prompts: list[str], responses: list[str]) -> list[float]:
    return [float(len(text.split())) for text in responses]


def sleeping(prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
    time.sleep(60)
    return torch.zeros(2)


def looping(prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
    while True:
        pass


def swallowing(prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
    while True:
        with contextlib.suppress(Exception):
            time.sleep(1)


def backtracking(prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
    return torch.tensor([bool(re.match(r"(a+)+$", "a" * 40 + "b"))] * 2)


def on_thread(function: Any) -> list[Any]:
    """What a call on another thread returns or raises."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(function())
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return results


class TestTimeLimit:
    @pytest.mark.parametrize("reward", [sleeping, looping, swallowing, backtracking])
    def test_a_hanging_reward_is_broken_off(self, reward: Any) -> None:
        start, handler = time.monotonic(), signal.getsignal(signal.SIGALRM)
        with pytest.raises(
            TimeoutError, match=f"reward {reward.__name__} must answer within 0.2 s, .* 2 responses"
        ):
            score(TimeLimit(reward, 0.2), PROMPTS, RESPONSES)
        assert time.monotonic() - start < 5
        assert signal.getsignal(signal.SIGALRM) is handler

    def test_elsewhere_than_on_the_main_thread(self) -> None:
        start = time.monotonic()
        (error,) = on_thread(lambda: score(TimeLimit(sleeping, 0.2), PROMPTS, RESPONSES))
        assert isinstance(error, TimeoutError)
        assert time.monotonic() - start < 5

    def test_what_was_left_alone_does_not_keep_the_program(self) -> None:
        code = (
            "import threading, time, torch\n"
            "from rlhf_env.rewards import TimeLimit\n"
            "class Sleeper:\n"
            "    def __call__(self, prompts, responses): time.sleep(60)\n"
            "def run():\n"
            "    try: TimeLimit(Sleeper(), 0.1)([], [])\n"
            "    except TimeoutError: print('late', end='')\n"
            "thread = threading.Thread(target=run); thread.start(); thread.join()\n"
        )
        answer = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=50
        )
        assert (answer.returncode, answer.stdout, answer.stderr) == (0, "late", "")

    @pytest.mark.parametrize("run", [lambda call: call(), lambda call: on_thread(call)[0]])
    def test_who_is_in_time_is_passed_on(self, run: Any) -> None:
        made = as_reward(TimeLimit(words, 5), tiny_tokenizer())
        assert run(lambda: score(made, PROMPTS, RESPONSES)).tolist() == [2.0, 0.0]
        assert as_reward(made, tiny_tokenizer()) is made

    def test_errors_are_passed_on(self) -> None:
        def broken(prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
            raise KeyError("rating")

        reward = TimeLimit(broken, 5)
        with pytest.raises(KeyError) as caught:
            score(reward, PROMPTS, RESPONSES)
        assert caught.value.__notes__ == ["raised by reward broken on 2 responses"]
        assert isinstance(on_thread(lambda: score(reward, PROMPTS, RESPONSES))[0], KeyError)

    def test_prefixes_where_the_reward_has_them(self) -> None:
        limited = TimeLimit(FavoriteTokenReward(), 5)
        assert isinstance(limited, PrefixReward)
        assert limited.prefix_scores(PROMPTS, RESPONSES)[0].tolist() == pytest.approx(
            [0.0, 0.9, 0.8, 0.7]
        )
        assert not isinstance(TimeLimit(sleeping, 5), PrefixReward)

    def test_an_outer_timer_goes_on(self) -> None:
        rung = []
        handler = signal.signal(signal.SIGALRM, lambda number, frame: rung.append(number))
        outer = signal.setitimer(signal.ITIMER_REAL, 0.5)
        try:
            score(TimeLimit(FavoriteTokenReward(), 5), PROMPTS, RESPONSES)
            assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 0.5
            time.sleep(0.7)
            assert rung == [signal.SIGALRM]
        finally:
            signal.signal(signal.SIGALRM, handler)
            signal.setitimer(signal.ITIMER_REAL, *outer)

    @pytest.mark.parametrize(("inner", "outer"), [(0.2, 60), (60, 0.2), (0.2, 0.21)])
    def test_the_shorter_of_two_limits(self, inner: float, outer: float) -> None:
        start = time.monotonic()
        with pytest.raises(TimeoutError, match=r"within 0\.2 s"):
            score(TimeLimit(TimeLimit(sleeping, inner), outer), PROMPTS, RESPONSES)
        assert time.monotonic() - start < 5

    @pytest.mark.parametrize("seconds", [0, -1, float("nan"), None])
    def test_bad_limits(self, seconds: Any) -> None:
        with pytest.raises(ValueError, match="seconds must be a finite number"):
            TimeLimit(sleeping, seconds)


def noise(prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
    return torch.tensor([random.random(), np.random.rand() + torch.rand(()).item()])


def seeding(prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    return torch.zeros(2)


def drawn() -> list[float]:
    return [random.random(), np.random.rand(), torch.rand(()).item()]


@pytest.mark.parametrize("reward", [noise, seeding])
def test_nobody_s_random_numbers_change(reward: Any) -> None:
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    expected = drawn()
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
    score(OwnRandomness(reward), PROMPTS, RESPONSES)
    assert drawn() == expected


def test_noise_stays_noise_and_repeats_with_its_seed() -> None:
    first, second = OwnRandomness(noise), OwnRandomness(noise)
    draws = [score(first, PROMPTS, RESPONSES).tolist() for _ in range(3)]
    assert draws[0] != draws[1] != draws[2]
    assert [score(second, PROMPTS, RESPONSES).tolist() for _ in range(3)] == draws
    other = OwnRandomness(noise, seed=1)
    assert score(other, PROMPTS, RESPONSES).tolist() != draws[0]


def test_its_random_numbers_are_restored_after_an_error() -> None:
    def broken(prompts: list[str], responses: list[str]) -> list[float]:
        random.seed(0)
        raise KeyError("rating")

    state = random.getstate()
    made = as_reward(OwnRandomness(broken), tiny_tokenizer())
    with pytest.raises(KeyError):
        score(made, PROMPTS, RESPONSES)
    assert random.getstate() == state


def test_the_working_directory_stays(tmp_path: Path) -> None:
    def wandering(prompts: list[str], responses: list[str]) -> list[float]:
        os.chdir(tmp_path)
        return [0.0, 0.0]

    before = os.getcwd()
    score(as_reward(wandering, tiny_tokenizer()), PROMPTS, RESPONSES)
    assert os.getcwd() == before
