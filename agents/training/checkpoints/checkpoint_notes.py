"""What a checkpoint says of itself to people and to other libraries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rlhf_env.files import write_atomically

# transformers shows the model_type that it does not know, so that is where it says what to do.
MODEL_TYPE = "rlhf-env checkpoint, no model folder: agent.export() writes one, see README.md there"
README = """\
# A checkpoint of rlhf-env

`{agent}` after {updates} updates ({episodes} episodes). Training continues from this folder. It
is not a Hugging Face model folder: `from_pretrained` does not read it.

A run of `scripts/train.py` (the folder above `checkpoints`) needs no code of yours:

    python scripts/evaluate.py RUN
    python scripts/export.py RUN --out exported

In Python, make the environment of the task that the agent was trained on, here {task}:

    import gymnasium as gym
    import rlhf_env
    from {module} import {agent}

    envs = gym.make_vec("RLHF-v0", num_envs=8, task=task)
    agent = {agent}.load(this_folder, envs{algorithm})
    agent.export("exported")

`AutoModelForCausalLM.from_pretrained("exported")` then reads what was written{adapter}.

| file | what |
|---|---|
| `policy.safetensors` | {weights} |
| `optimizer.safetensors` | the optimizer's moments |
| `state.json` | the agent's class, settings and counters |
{replay}| `manifest.json` | checksums of these |
| `config.json` | only lets other libraries say what this folder is |
"""


def write_notes(agent: Any, folder: Path) -> None:
    """Write ``README.md`` and ``config.json`` for those who find a checkpoint.

    Args:
        agent: whose checkpoint it is.
        folder: the checkpoint.
    """
    kind = type(agent)
    has_adapter = getattr(agent.config, "lora_rank", None) is not None
    text = README.format(
        agent=kind.__name__,
        module="agents" if kind.__module__.startswith("agents.") else kind.__module__,
        updates=agent.updates,
        episodes=agent.episodes,
        task=repr(agent.base.task.name),
        algorithm="" if getattr(kind, "algorithm_class", True) else ", algorithm=...",
        adapter=(
            '; `agent.export("adapter", adapter=True)` writes the adapter alone, for peft'
            if has_adapter
            else ""
        ),
        replay=(
            ""
            if getattr(agent, "replay", None) is None
            else "| `replay.safetensors` | the old episodes that it learns from again |\n"
        ),
        weights=(
            "the adapter's weights alone; all others are those of the task's model"
            if has_adapter
            else "all weights, under the names that this package gives them"
        ),
    )
    write_atomically(folder / "README.md", text.encode())
    config = {"model_type": MODEL_TYPE}
    write_atomically(folder / "config.json", (json.dumps(config, indent=1) + "\n").encode())
