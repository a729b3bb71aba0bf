"""A checkpoint says what it is to a person and to transformers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

import agents
from agents import GRPO, PPO
from agents.training.checkpoints.checkpoint_files import find_corruption
from rlhf_env.engine.pretrained import ModelError, load_language_model
from tests.agents.episodes import make_envs
from tests.agents.training.test_lora import trained
from tests.toys import tiny_llama_task


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    PPO(make_envs(tiny_llama_task(), 4)).save(tmp_path / "saved")
    return tmp_path / "saved"


def test_its_page_says_how_to_load_and_export_it(saved: Path) -> None:
    page = (saved / "README.md").read_text()
    assert "`PPO` after 0 updates (0 episodes)" in page
    code = "\n".join(re.findall(r"^    (?!python )(.*)$", page, flags=re.MULTILINE))
    known = {"task": tiny_llama_task(), "this_folder": saved}
    exec(code.replace('"exported"', f'"{saved.parent}/exported"'), known)
    assert isinstance(known["agent"], agents.PPO)
    model = AutoModelForCausalLM.from_pretrained(saved.parent / "exported")
    torch.testing.assert_close(
        model.lm_head.weight, tiny_llama_task().reference.lm_head.weight.detach()
    )


def test_the_page_of_an_adapter(tmp_path: Path) -> None:
    trained("llama").save(tmp_path / "saved")
    page = (tmp_path / "saved/README.md").read_text()
    assert "the adapter's weights alone" in page and "adapter=True" in page


def test_transformers_says_what_it_is(saved: Path) -> None:
    with pytest.raises(ValueError, match=r"rlhf-env checkpoint.* agent.export\(\) writes one"):
        AutoModelForCausalLM.from_pretrained(saved)


def test_it_is_no_model_of_a_task(saved: Path) -> None:
    with pytest.raises(ModelError, match=r"is a checkpoint of an agent.*agent.export\(folder\)"):
        load_language_model(saved)


def test_a_checkpoint_without_them_is_whole_and_can_be_replaced(saved: Path) -> None:
    for name in ("README.md", "config.json"):
        (saved / name).unlink()
    assert find_corruption(saved) is None
    agent = GRPO(make_envs(tiny_llama_task(), 8), episodes_per_update=8)
    agent.save(saved)
    agent.save(saved)
    assert "`GRPO`" in (saved / "README.md").read_text()
