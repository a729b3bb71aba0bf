"""The reference's log-probabilities of fixed data, computed once and kept in a file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from agents.preference.data import groups_rollout
from agents.preference.groups import ResponseGroup
from agents.training.checkpoints.weights_digest import weights_digest
from rlhf_env.engine.scoring import score_rollout
from rlhf_env.files import write_atomically
from rlhf_env.mdp.mdp import TokenMDP

# Groups that are scored at a time: what is padded to a common width.
_AT_ONCE = 256


def reference_logprobs(
    mdp: TokenMDP,
    groups: Sequence[ResponseGroup],
    temperature: float,
    path: Path | None = None,
) -> list[Tensor]:
    """Return log pi_ref of every token of every response, one [T] float32 each, on the CPU.

    Args:
        mdp: its reference is asked.
        groups: token ids, as `read_groups` returns them.
        temperature: divides the logits.
        path: a file that keeps them. It is read if it is of the same reference, temperature and
            ids, and written otherwise.

    Raises:
        OSError: if the file cannot be written.
    """
    texts = [(group.prompt, response) for group in groups for response in group.responses]
    lengths = [len(response) for _, response in texts]
    if path is None:
        return list(_computed(mdp, groups, temperature).split(lengths))
    digest = _digest(mdp, texts, temperature)
    kept = _read(path, digest)
    if kept is None or len(kept) != sum(lengths):
        kept = _computed(mdp, groups, temperature)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, save({"logprobs": kept}, {"digest": digest}))
    return list(kept.split(lengths))


def _computed(mdp: TokenMDP, groups: Sequence[ResponseGroup], temperature: float) -> Tensor:
    parts = []
    for start in range(0, len(groups), _AT_ONCE):
        rollout = groups_rollout(mdp, groups[start : start + _AT_ONCE])
        found = score_rollout(mdp.reference, rollout.tokens, rollout.is_action, temperature)
        parts.append(found[rollout.is_action].cpu())
    return torch.cat(parts)


def _digest(mdp: TokenMDP, texts: Sequence[tuple[Tensor, Tensor]], temperature: float) -> str:
    """Return a hash of all that the numbers depend on."""
    digest = hashlib.sha256()
    digest.update(weights_digest(mdp.reference.model.named_parameters()).encode())
    digest.update(f"{float(temperature)!r} {torch.__version__}".encode())
    for prompt, response in texts:
        digest.update(f"{len(prompt)} {len(response)} ".encode())
        digest.update(torch.cat([prompt, response]).numpy().tobytes())
    return digest.hexdigest()


def _read(path: Path, digest: str) -> Tensor | None:
    """Return the numbers of a file; None if it is not there, damaged, or of something else."""
    try:
        with safe_open(path, framework="pt") as file:
            is_same = (file.metadata() or {}).get("digest") == digest
            return file.get_tensor("logprobs") if is_same else None
    except (OSError, SafetensorError):
        return None
