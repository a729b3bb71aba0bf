"""What an exported folder says of itself: its README.md and its settings for generation."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Protocol, cast

from transformers import GenerationConfig

from agents.config import AgentConfig
from agents.policy import Policy
from rlhf_env.vector_env import RLHFVectorEnv

# Ids beyond the tokenizer's, which the policy never draws; more are not worth a list.
_MOST_SUPPRESSED = 4096
_PACKAGES = ("rlhf-env", "torch", "transformers")


class ExportedAgent(Protocol):
    """The parts of an agent that are exported."""

    config: AgentConfig
    policy: Policy
    base: RLHFVectorEnv
    updates: int
    episodes: int

    @property
    def kl_coef(self) -> float:
        """Beta of the next rollout."""
        ...


def generation_config(agent: ExportedAgent) -> GenerationConfig:
    """Return the settings under which ``generate`` draws as the agent does.

    Samples come from the whole softmax at the agent's temperature, of at most the task's number of
    new tokens; ids that the tokenizer does not know are never drawn.
    """
    task, model = agent.base.task, cast(Any, agent.policy.model)
    width = model.get_output_embeddings().weight.shape[0]
    beyond = list(range(task.vocab_size, width))
    return GenerationConfig(
        do_sample=True,
        temperature=float(agent.config.temperature),
        top_k=0,
        top_p=1.0,
        repetition_penalty=1.0,
        max_new_tokens=task.max_new_tokens,
        bos_token_id=task.tokenizer.bos_token_id,
        eos_token_id=task.eos_id,
        pad_token_id=task.pad_id,
        suppress_tokens=beyond if 0 < len(beyond) <= _MOST_SUPPRESSED else None,
    )


def model_card(agent: ExportedAgent, figures: Mapping[str, float], *, adapter: bool = False) -> str:
    """Return the README.md of an exported folder.

    Args:
        agent: what is exported.
        figures: measured ones, by name; those that are not finite are left out.
        adapter: whether the folder holds the adapter alone.

    Text that comes from a task, a model or a setting is escaped. No license is named: that of the
    model that the training began from is not known here.
    """
    task = agent.base.task
    base = getattr(cast(Any, agent.policy.model).config, "name_or_path", "")
    tags = ["rlhf", type(agent).__name__.lower(), *(["lora"] if adapter else [])]
    front = {
        "library_name": "peft" if adapter else "transformers",
        "pipeline_tag": "text-generation",
        "tags": tags,
    }
    known = {name: value for name, value in figures.items() if math.isfinite(value)}
    kind = "low-rank adapter" if adapter else "language model"
    lines = [
        "---",
        *(f"{name}: {json.dumps(value)}" for name, value in front.items()),
        "---",
        "",
        f"# {escaped(type(agent).__name__)} on {escaped(task.name)}",
        "",
        f"A {kind} trained by reinforcement learning in the token MDP of rlhf-env,",
        f"for {agent.updates:,} updates ({agent.episodes:,} episodes).",
        "The critic, if there was one, is left out.",
        "",
        f"- Task: {escaped(task.name)}.",
        f"- Longest prompt: {task.max_prompt_tokens} tokens; response: {task.max_new_tokens}.",
        f"- Began from: {escaped(str(base)) if base else 'not recorded'}.",
        f"- KL coefficient at the end: {agent.kl_coef:g}.",
        f"- Temperature: {agent.config.temperature:g}, as in `generation_config.json`.",
        "- License: to be filled in; that of the model it began from applies to it too.",
        "",
        "## Figures",
        "",
    ]
    if known:
        lines += ["| figure | value |", "|---|---|"]
        lines += [f"| {escaped(name)} | {value:.6g} |" for name, value in known.items()]
    else:
        lines += ["None were measured."]
    lines += ["", "## Settings", "", "```json", _settings(agent), "```", "", "## Versions", ""]
    lines += [f"- {package} {_version(package)}" for package in _PACKAGES]
    return "\n".join([*lines, ""])


def escaped(text: str) -> str:
    """Return a text as one line that Markdown and HTML show as it is."""
    one_line = " ".join(text.split())
    plain = one_line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]()#+!|~-])", r"\\\1", plain)


def _settings(agent: ExportedAgent) -> str:
    fields = dataclasses.asdict(agent.config)
    text = json.dumps(fields, indent=2, default=_plain)
    # A fence in a setting would end the block.
    return text.replace("`", "\\u0060")


def _plain(value: Any) -> str:
    return str(value)


def _version(package: str) -> str:
    return version(package).partition("+")[0]
