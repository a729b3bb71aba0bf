"""A critic that was trained before, taken from a checkpoint."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from agents.agent import Agent
from agents.training.checkpoints.checkpoint import read_state
from agents.training.checkpoints.checkpoint_files import load_tensors

_HEAD, _CRITIC, _MODEL = "value_head.", "critic.", "model."


def load_critic(agent: Agent, path: Path) -> None:
    """Put the critic of a checkpoint in place of an agent's own.

    An agent with ``critic="separate"`` takes the trunk that the checkpoint's critic had, its own or
    the policy's. One with ``critic="shared"`` takes the head alone, so the trunk under it must be
    the same.

    Args:
        agent: with a critic that learns.
        path: what `save` of an agent with the same model and discounts wrote.

    Raises:
        ValueError: if there is no complete checkpoint, or its critic does not fit.
    """
    state = read_state(path)
    if state["config"].get("lora_rank") is not None or agent.config.lora_rank is not None:
        raise ValueError(
            "critic_from needs the weights that the critic was trained on, got an adapter's "
            "(lora_rank); train both without"
        )
    given = load_tensors(path / "policy.safetensors")
    policy = agent.policy
    weights = {n.removeprefix(_HEAD): w for n, w in given.items() if n.startswith(_HEAD)}
    _copy(dict(policy.value_head.named_parameters()), weights, path)
    had_own = any(name.startswith(_CRITIC) for name in given)
    if policy.critic is not None:
        prefix = _CRITIC if had_own else _MODEL
        trunk = {n.removeprefix(prefix): w for n, w in given.items() if n.startswith(prefix)}
        _copy(dict(policy.critic.named_parameters()), trunk, path)
        return
    trunk = {n.removeprefix(_MODEL): w for n, w in given.items() if n.startswith(_MODEL)}
    if had_own or not _is_same_trunk(policy.model, trunk):
        raise ValueError(
            f"the critic of {str(path)!r} was trained on another trunk than this policy's; make "
            'the agent with critic="separate", which takes the trunk too'
        )


def _is_same_trunk(model: torch.nn.Module, given: dict[str, Tensor]) -> bool:
    """Return whether all weights but those of the output projection agree."""
    projection = getattr(model, "get_output_embeddings", lambda: None)()
    outside = {id(p) for p in projection.parameters()} if projection is not None else set()
    # Weights that are tied to the input are of the trunk too.
    inputs = getattr(model, "get_input_embeddings", lambda: None)()
    outside -= {id(p) for p in inputs.parameters()} if inputs is not None else set()
    own = {name: p for name, p in model.named_parameters() if id(p) not in outside}
    return all(name in given and torch.equal(given[name], p.cpu()) for name, p in own.items())


def _copy(own: dict[str, torch.nn.Parameter], given: dict[str, Tensor], path: Path) -> None:
    if own.keys() != given.keys() or any(own[n].shape != given[n].shape for n in own):
        raise ValueError(
            f"{str(path)!r} holds the critic of another model or of other discounts; give one "
            "that was trained with the same model and gamma"
        )
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(given[name])
