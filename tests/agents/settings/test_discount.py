"""The two policy gradients of a discount, by name."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest

from agents import GRPO, AgentConfig, GRPOConfig, PPOConfig, ReinforceConfig, RLOOConfig
from agents.settings.agent import upgraded_settings
from agents.training.checkpoints import checkpoint
from rlhf_env.task import Task
from tests.agents.episodes import make_envs


@pytest.mark.parametrize("kind", [PPOConfig, GRPOConfig, RLOOConfig, ReinforceConfig])
def test_the_former_name_of_the_standard_form(kind: type[AgentConfig]) -> None:
    with pytest.warns(DeprecationWarning, match=r'"usual" is now called "standard"'):
        config = kind(gradient_form="usual")  # type: ignore[call-arg]
    assert config.gradient_form == "standard"  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"one of \['standard', 'discounted'\], got 'other'"):
        kind(gradient_form="other")  # type: ignore[call-arg]


def test_settings_of_an_earlier_version_are_read(toy15: Task, tmp_path: Path) -> None:
    GRPO(make_envs(toy15), gradient_form="standard").save(tmp_path / "saved")
    state = json.loads((tmp_path / "saved" / "state.json").read_text())
    state["config"]["gradient_form"] = "usual"
    (tmp_path / "saved" / "state.json").write_text(json.dumps(state))
    manifest = json.loads((tmp_path / "saved" / checkpoint.MANIFEST).read_text())
    manifest["files"]["state.json"] = sha256(
        (tmp_path / "saved" / "state.json").read_bytes()
    ).hexdigest()
    (tmp_path / "saved" / checkpoint.MANIFEST).write_text(json.dumps(manifest))
    loaded = GRPO.load(tmp_path / "saved", make_envs(toy15))
    assert loaded.config.gradient_form == "standard"
    assert upgraded_settings("PPO", {"epochs": 2}) == {"epochs": 2}
