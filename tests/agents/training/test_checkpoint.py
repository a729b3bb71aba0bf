"""Checkpoints: equal outputs after loading, and clear refusals of what is no checkpoint."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from agents import GRPO, PPO, Agent
from agents.training.checkpoints.checkpoint_files import FILES, find_corruption
from rlhf_env.files import sha256
from rlhf_env.task import Task
from tests.agents.episodes import make_envs
from tests.full_disk import files_of_at_most
from tests.toys import tiny_gpt2_task, tiny_llama_task


def trained(kind: type[Agent] = PPO, task: Task | None = None, **settings: Any) -> Agent:
    settings = {"episodes_per_update": 8, "learning_rate": 0.01, **settings}
    agent = kind(make_envs(task or tiny_gpt2_task()), **settings)
    agent.learn(16, progress=False)
    return agent


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Agent, Path]:
    agent, path = trained(), tmp_path_factory.mktemp("agent") / "saved"
    agent.save(path)
    return agent, path


@pytest.fixture
def copied(saved: tuple[Agent, Path], tmp_path: Path) -> Path:
    """A folder that may be damaged."""
    path = tmp_path / "copied"
    path.mkdir()
    for file in saved[1].iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    return path


def said(agent: Agent) -> list[Tensor]:
    tokens = torch.tensor([[2, 3, 7, 9, 1], [3, 5, 5, 8, 8]])
    is_action = torch.tensor([[False, False, True, True, True], [False, True, True, True, True]])
    described = agent.policy.evaluate_episodes(tokens, is_action)
    return [described.logprobs, described.values, described.last_values]


@pytest.mark.parametrize("kind", [PPO, GRPO])
def test_what_is_loaded_is_what_was_saved(kind: type[Agent], tmp_path: Path) -> None:
    agent = trained(kind, tiny_llama_task(), gamma=0.9, kl_coef=0.3)
    agent.save(tmp_path / "a")
    other = kind.load(str(tmp_path / "a"), make_envs(tiny_llama_task()))
    assert other.config == agent.config
    assert (other.updates, other.episodes, other.kl_coef) == (2, 16, 0.3)
    for mine, yours in zip(said(agent), said(other), strict=True):
        assert torch.equal(mine, yours)
    for one in (agent, other):
        one.learn(32, progress=False)
    for mine, yours in zip(agent.policy.parameters(), other.policy.parameters(), strict=True):
        assert torch.equal(mine, yours)


def test_tied_embeddings_stay_tied(saved: tuple[Agent, Path]) -> None:
    """Trap A17."""
    agent = PPO.load(saved[1], make_envs(tiny_gpt2_task()))
    model: Any = agent.policy.model
    assert model.lm_head.weight is model.transformer.wte.weight
    for mine, yours in zip(said(saved[0]), said(agent), strict=True):
        assert torch.equal(mine, yours)
    with torch.no_grad():
        model.transformer.wte.weight[3, 0] = 17.0
    assert model.lm_head.weight[3, 0] == 17.0


def test_a_fresh_process_loads_the_same(saved: tuple[Agent, Path]) -> None:
    program = (
        "import sys, torch; torch.set_num_threads(1)\n"
        "from agents import PPO\n"
        "from tests.agents.episodes import make_envs\n"
        "from tests.agents.training.test_checkpoint import said\n"
        "from tests.toys import tiny_gpt2_task\n"
        "agent = PPO.load(sys.argv[1], make_envs(tiny_gpt2_task()))\n"
        "print([float(x) for part in said(agent) for x in part.double().flatten()])\n"
    )
    command = [sys.executable, "-c", program, str(saved[1])]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    expected = [float(x) for part in said(saved[0]) for x in part.double().flatten()]
    assert json.loads(answer.stdout) == expected


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named(copied: Path, name: str) -> None:
    content = bytearray((copied / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / name).write_bytes(content)
    message = f"is damaged: the checksum of {name} differs; use an earlier one"
    with pytest.raises(ValueError, match=message):
        PPO.load(copied, make_envs(tiny_gpt2_task()))
    (copied / name).unlink()
    with pytest.raises(ValueError, match=f"is damaged: {name} is missing"):
        PPO.load(copied, make_envs(tiny_gpt2_task()))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": 1}', b"\xff\xfe"])
def test_a_broken_manifest_is_refused(copied: Path, content: bytes) -> None:
    (copied / "manifest.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"is damaged: manifest\.json is missing or unreadable"):
        PPO.load(copied, make_envs(tiny_gpt2_task()))


def test_a_manifest_of_foreign_files_or_formats_is_refused(copied: Path) -> None:
    manifest = json.loads((copied / "manifest.json").read_text())
    (copied / "manifest.json").write_text(json.dumps(manifest | {"format": 2}))
    assert find_corruption(copied) == "its format is 2, this version reads 1"
    files = {"../../secret": "0", **manifest["files"]}
    (copied / "manifest.json").write_text(json.dumps(manifest | {"files": files}))
    assert str(find_corruption(copied)).startswith(
        "manifest.json must name ['optimizer.safetensors'"
    )


class Payload:
    """Whoever unpickles this leaves a file behind."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return (Path.touch, (self.trace,))


@pytest.mark.parametrize("name", FILES)
def test_a_pickle_is_never_executed(copied: Path, tmp_path: Path, name: str) -> None:
    """Not even one whose checksum is right."""
    trace = tmp_path / "executed"
    for protocol in (0, 5):
        (copied / name).write_bytes(pickle.dumps(Payload(trace), protocol=protocol))
        with pytest.raises(ValueError, match="is damaged"):
            PPO.load(copied, make_envs(tiny_gpt2_task()))
        sign(copied)
        with pytest.raises(ValueError, match=f"is damaged: {name} is unreadable"):
            PPO.load(copied, make_envs(tiny_gpt2_task()))
    assert not trace.exists()


def sign(path: Path) -> None:
    """Make the manifest agree with what the folder holds."""
    import hashlib

    digests = {name: hashlib.sha256((path / name).read_bytes()).hexdigest() for name in FILES}
    (path / "manifest.json").write_text(json.dumps({"format": 1, "files": digests}))


def test_other_settings_are_refused_by_name(saved: tuple[Agent, Path]) -> None:
    agent = PPO(make_envs(tiny_gpt2_task()), episodes_per_update=16, learning_rate=0.01)
    message = "was made with episodes_per_update = 8, got 16; use the same settings"
    with pytest.raises(ValueError, match=message):
        agent.restore(saved[1])


def test_another_agent_or_model_is_refused(saved: tuple[Agent, Path]) -> None:
    with pytest.raises(ValueError, match=r"was written by PPO, got GRPO.load"):
        GRPO.load(saved[1], make_envs(tiny_gpt2_task()))
    with pytest.raises(ValueError, match="holds another model's weights; use the same policy"):
        PPO.load(saved[1], make_envs(tiny_llama_task()))


@pytest.mark.parametrize("name", ["nothing", "empty"])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"checkpoint must be a folder that save\(\) wrote, got"):
        PPO.load(tmp_path / name, make_envs(tiny_gpt2_task()))


def test_saving_replaces_a_checkpoint_and_nothing_else(
    saved: tuple[Agent, Path], tmp_path: Path
) -> None:
    path = tmp_path / "with spaces é" / "a"
    for _ in range(2):
        saved[0].save(path)
        assert find_corruption(path) is None
    assert [entry.name for entry in path.parent.iterdir()] == ["a"]
    (path / "thesis.txt").write_text("months of work")
    with pytest.raises(ValueError, match=r"also holds 'thesis\.txt'; choose a folder of its"):
        saved[0].save(path)
    with pytest.raises(ValueError, match="path must be a folder or new, got the file"):
        saved[0].save(path / "thesis.txt")
    assert (path / "thesis.txt").read_text() == "months of work"


def test_a_save_killed_between_old_and_new_loses_nothing(
    saved: tuple[Agent, Path], copied: Path
) -> None:
    copied.rename(copied.with_name(".copied.former"))
    agent = PPO.load(copied, make_envs(tiny_gpt2_task()))
    assert agent.updates == 2
    assert find_corruption(copied) is None


def test_a_save_that_fails_leaves_the_old_checkpoint(
    saved: tuple[Agent, Path], copied: Path
) -> None:
    """As on a full disk: files cannot grow."""
    with files_of_at_most(1000), pytest.raises(OSError, match=r"cannot write .* too large"):
        saved[0].save(copied)
    assert find_corruption(copied) is None
    assert not list(copied.parent.glob(".*partial*"))


def test_an_export_that_fails_leaves_nothing(saved: tuple[Agent, Path], tmp_path: Path) -> None:
    with files_of_at_most(1000), pytest.raises(OSError, match="too large"):
        saved[0].export(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_setting_newer_than_the_checkpoint_was_at_its_default(
    toy15: Task, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint"
    agent = GRPO(make_envs(toy15), episodes_per_update=8)
    agent.save(path)
    state = json.loads((path / "state.json").read_text())
    del state["config"]["importance"]
    (path / "state.json").write_text(json.dumps(state))
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"]["state.json"] = sha256(path / "state.json")
    (path / "manifest.json").write_text(json.dumps(manifest))
    agent.restore(path)
    other = GRPO(make_envs(toy15), episodes_per_update=8, importance="token")
    with pytest.raises(ValueError, match="importance = 'none', got 'token'"):
        other.restore(path)


@pytest.mark.parametrize("content", ["[" * 200_000, "{", "7", ""])
def test_a_manifest_that_cannot_be_parsed(copied: Path, content: str) -> None:
    (copied / "manifest.json").write_text(content)
    assert find_corruption(copied) == "manifest.json is missing or unreadable"
