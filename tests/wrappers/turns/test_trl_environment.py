"""What TRL's GRPO trainer asks of an environment; `tests/peers/test_trl_environment.py` asks it."""

from __future__ import annotations

import inspect

import pytest
from transformers.utils import get_json_schema

from rlhf_env.env import RLHFEnv
from tests.dialogues import talk_task
from wrappers.turns import TurnText
from wrappers.turns.trl_environment import Conversation, trl_environment


def test_a_conversation_is_that_of_the_view() -> None:
    task = talk_task()
    one, env = trl_environment(task)(), TurnText(RLHFEnv(task, kl_coef=0.0))
    lengths = set()
    for seed in range(8):
        assert one.reset(seed=seed, prompt=[]) == env.reset(seed=seed)[0]
        total, over, turns = 0.0, False, 0
        while not over:
            answer, reward, over, _, _ = env.step("w5 w2")
            total, turns = total + reward, turns + 1
            assert one.say("w5 w2") == ("The conversation is over." if over else answer)
        assert one.get_reward() == total != 0
        lengths.add(turns)
    assert len(lengths) > 1
    with pytest.raises(ValueError, match="the conversation is over"):
        one.say("w5")


def test_rows_choose_prompts_and_a_reset_forgets_the_reward() -> None:
    one = trl_environment("toy15")()
    one.reset(prompt_index=0)
    one.say("1")
    assert one.get_reward() == 1.25
    one.reset(prompt_index=0)
    assert one.get_reward() == 0.0


def test_the_model_sees_one_tool() -> None:
    methods = dict(inspect.getmembers(Conversation, predicate=inspect.isfunction))
    tools = {name for name in methods if name[0] != "_"} - {"reset", "get_reward"}
    assert tools == {"say"}
    schema = get_json_schema(trl_environment("toy15")().say)["function"]
    assert schema["name"] == "say"
    assert schema["parameters"]["properties"] == {
        "text": {"type": "string", "description": "What to say."}
    }


def test_options_are_checked_at_once() -> None:
    with pytest.raises(ValueError, match="no option 'kl_coeff'; did you mean 'kl_coef'"):
        trl_environment("toy15", kl_coeff=0.1)
