"""Training runs: what they leave behind, and what they leave alone."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from agents import train
from agents.training.run_log import RunLog, read_metrics
from rlhf_env.tasks import load_task
from tests.agents.episodes import make_envs
from tests.agents.runs import assert_equal, make_agent, weights, without_time
from tests.toys import tiny_gpt2_task

KEYS = {"update", "episodes", "score", "kl", "return", "ratio_max", "clip_fraction"}


def test_what_a_run_leaves_behind(tmp_path: Path) -> None:
    agent = make_agent()
    history = agent.learn(20, log_dir=tmp_path / "run", progress=False)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert rows == history
    assert [(row["update"], row["episodes"]) for row in rows] == [(1, 8), (2, 16), (3, 24)]
    assert rows[0].keys() >= KEYS
    assert rows[0]["ratio_max"] > 1
    names = {path.name for path in (tmp_path / "run").iterdir() if "tfevents" not in path.name}
    assert names == {"metrics.jsonl", "checkpoints", ".run.lock"}
    (board,) = (tmp_path / "run").glob("events.out.tfevents.*")
    assert board.stat().st_size > 500
    (checkpoint,) = (tmp_path / "run" / "checkpoints").iterdir()
    assert checkpoint.name == "update-00000003"


def test_a_number_that_is_none_is_null_and_nothing_breaks(tmp_path: Path) -> None:
    with RunLog(tmp_path) as log:
        log.write({"update": 1.0, "kl": float("inf"), "score": float("nan")})
    text = (tmp_path / "metrics.jsonl").read_text()
    assert text == '{"update": 1.0, "kl": null, "score": null}\n'


def test_no_episodes_train_nothing(tmp_path: Path) -> None:
    agent = make_agent()
    before = weights(agent)
    assert agent.learn(0, log_dir=tmp_path, progress=False) == []
    assert (tmp_path / "metrics.jsonl").read_text() == ""
    assert_equal(before, weights(agent))
    with pytest.raises(ValueError, match="total_episodes must be an integer >= 0, got -1"):
        agent.learn(-1, progress=False)


def test_two_runs_of_one_seed_are_equal_and_of_two_are_not() -> None:
    histories, ends = [], []
    for seed in (0, 0, 1):
        agent = make_agent(seed=seed)
        histories.append(without_time(agent.learn(24, progress=False)))
        ends.append(weights(agent))
    assert histories[0] == histories[1] != histories[2]
    assert_equal(ends[0], ends[1])
    assert not torch.equal(ends[0][0], ends[2][0])


def test_evaluation_does_not_disturb_training() -> None:
    """Trap I7: not the policy's next episodes, and not its own answers."""
    plain, judged = make_agent(), make_agent()
    answers = [judged.evaluate(16)]
    expected = without_time(plain.learn(32, progress=False))
    found = judged.learn(
        32, progress=False, callback=lambda agent, metrics: answers.append(agent.evaluate(16))
    )
    judged.act(judged.envs.reset(seed=0)[0])
    assert without_time(found) == expected
    assert_equal(weights(plain), weights(judged))
    assert answers[-1] == judged.evaluate(16)
    assert answers[0] != answers[-1]
    assert answers[0]["kl_exact"] == pytest.approx(0.0, abs=1e-5)
    assert answers[0]["win_rate"] == 0.5
    assert answers[-1]["kl_exact"] > 0


def test_a_torn_last_line_is_repaired(tmp_path: Path) -> None:
    make_agent().learn(24, log_dir=tmp_path, progress=False)
    path = tmp_path / "metrics.jsonl"
    complete = path.read_text()
    path.write_text(complete + '{"update": 4.0, "epis')
    assert len(read_metrics(path)) == 3
    make_agent().learn(32, log_dir=tmp_path, progress=False)
    lines = path.read_text().splitlines()
    assert "\n".join(lines[:3]) + "\n" == complete
    assert [json.loads(line)["update"] for line in lines] == [1, 2, 3, 4]


def test_a_run_of_which_no_checkpoint_is_left_is_not_overwritten(tmp_path: Path) -> None:
    make_agent().learn(16, log_dir=tmp_path, progress=False)
    (tmp_path / "checkpoints" / "update-00000002" / "manifest.json").unlink()
    before = (tmp_path / "metrics.jsonl").read_text()
    with (
        pytest.warns(UserWarning, match="is passed over: manifest.json is missing"),
        pytest.raises(ValueError, match=r"no checkpoint in .* can be used; choose another log_dir"),
    ):
        make_agent().learn(32, log_dir=tmp_path, progress=False)
    assert (tmp_path / "metrics.jsonl").read_text() == before


def test_a_run_of_other_settings_is_not_overwritten(tmp_path: Path) -> None:
    make_agent().learn(16, log_dir=tmp_path, progress=False)
    before = (tmp_path / "metrics.jsonl").read_text()
    with pytest.raises(ValueError, match=r"was made with gamma = 1.0, got 0.5; use the same"):
        make_agent(gamma=0.5).learn(32, log_dir=tmp_path, progress=False)
    assert (tmp_path / "metrics.jsonl").read_text() == before


class Speechless:
    """An agent of somebody's own that cannot be saved."""

    def act(self, observation: dict[str, Any]) -> tuple[Any, Any]:
        count = len(observation["input_ids"])
        return [1] * count, [0.0] * count

    def update(self, rollout: Any) -> dict[str, float]:
        return {}


def test_a_run_that_cannot_be_resumed_is_not_overwritten(tmp_path: Path) -> None:
    envs = make_envs(tiny_gpt2_task())
    train(Speechless(), envs, 8, log_dir=tmp_path, progress=False)
    with pytest.raises(ValueError, match="holds a run already, and Speechless has no updates"):
        train(Speechless(), envs, 8, log_dir=tmp_path, progress=False)
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 2


def test_training_off_the_main_thread() -> None:
    agent = make_agent(task=load_task("toy15"))
    thread = threading.Thread(target=agent.learn, args=(16,), kwargs={"progress": False})
    thread.start()
    thread.join(timeout=60)
    assert agent.updates == 2


def test_the_agent_s_own_number_of_episodes_stands() -> None:
    agent = make_agent()
    with pytest.raises(ValueError, match="episodes_per_update is 8 in the agent, got 4 here"):
        train(agent, agent.envs, 8, episodes_per_update=4, progress=False)


def test_a_folder_is_written_by_one_run_at_a_time(tmp_path: Path) -> None:
    def second(agent: Any, metrics: dict[str, float]) -> None:
        with pytest.raises(ValueError, match="is being written by another run; choose another"):
            make_agent().learn(8, log_dir=tmp_path, progress=False)

    make_agent().learn(16, log_dir=tmp_path, progress=False, callback=second)
    assert len(make_agent().learn(24, log_dir=tmp_path, progress=False)) == 1


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("keep me")
    with pytest.raises(ValueError, match="log_dir must be a folder or new, got the file"):
        make_agent().learn(8, log_dir=path, progress=False)
    assert path.read_text() == "keep me"


def test_an_agent_that_forgets_its_figures_is_told() -> None:
    agent = Speechless()
    agent.update = lambda rollout: None  # type: ignore[assignment,method-assign]
    with pytest.raises(ValueError, match=r"must return a dictionary of numbers, got NoneType"):
        train(agent, make_envs(tiny_gpt2_task()), 4, progress=False)
