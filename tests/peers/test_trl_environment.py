"""TRL's GRPO trainer drives one of our tasks: its model's tool calls are our turns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from rlhf_env.env import RLHFEnv
from tests.dialogues import talk_task
from tests.rlhf_env.text.test_text_ids import byte_tokenizer
from tests.toys import tiny_llama
from wrappers.turns import TurnText
from wrappers.turns.trl_environment import trl_environment

trl = pytest.importorskip("trl")
pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def test_tool_calls_are_turns_and_the_reward_is_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is stood for by a script, since a random one calls no tool."""
    tokenizer = byte_tokenizer(adds_start=False)
    template = Path(trl.__file__).parent / "chat_templates" / "qwen3.jinja"
    tokenizer.chat_template = template.read_text()
    tokenizer.pad_token = "<s>"
    model = tiny_llama(len(tokenizer))
    model.config.max_position_embeddings = 8192
    rows = Dataset.from_list([{"prompt": [{"role": "user", "content": ""}], "seed": 3}])
    task = talk_task()
    trainer = trl.GRPOTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=rows,
        environment_factory=trl_environment(task),
        args=trl.GRPOConfig(
            output_dir=str(tmp_path),
            max_steps=1,
            num_generations=2,
            per_device_train_batch_size=2,
            max_completion_length=4000,
            report_to=[],
            use_cpu=True,
            save_strategy="no",
        ),
    )
    assert [tool.__name__ for tool in trainer.tools] == ["say"]
    assert trainer.reward_func_names == ["Conversation"]
    said = iter(["w5 w2", "w5"])

    def generate(prompt_ids: list[Any], *rest: Any, **options: Any) -> Any:
        text = next(said, None)
        call = json.dumps({"name": "say", "arguments": {"text": text}})
        words = "done" if text is None else f"<tool_call>\n{call}\n</tool_call>"
        ids = tokenizer(words, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
        return [ids] * len(prompt_ids), [[0.0] * len(ids)] * len(prompt_ids)

    monkeypatch.setattr(trainer, "_generate_single_turn", generate)
    trainer.train()
    env = TurnText(RLHFEnv(task, kl_coef=0.0))
    env.reset(seed=3)
    paid = sum(env.step(text)[1] for text in ("w5 w2", "w5"))
    logged = trainer.state.log_history[0]
    assert logged["rewards/Conversation/mean"] == pytest.approx(paid)
    assert (logged["tools/call_frequency"], logged["tools/failure_frequency"]) == (2.0, 0.0)
