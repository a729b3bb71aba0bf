"""Rewards that `scripts/train_reward.py` wrote, given to other commands as a folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

from rlhf_env.files import read_json

# As `rlhf_env.rewards.training.trained` writes it; nothing here imports torch.
HEADER = "reward.json"
# Figures are stored beside the reward and are not part of it.
NOT_THE_REWARD = "figures.json"


def is_folder(reference: str) -> bool:
    """Return True for a reward that is named as a folder and not as a function."""
    return Path(reference).is_dir() or ":" not in reference


def reward_folder(reference: str) -> Path:
    """Return the folder of a trained reward.

    Raises:
        ValueError: if it is not a trained reward.
    """
    path = Path(reference)
    if not (path / HEADER).is_file():
        got = "a folder without reward.json" if path.is_dir() else "no folder"
        raise ValueError(
            f"--reward must be module:function, file.py:function or a folder that "
            f"scripts/train_reward.py wrote, got {reference!r}, which is {got}; correct the path"
        )
    return path


def folder_digest(folder: Path) -> str:
    """Return the SHA-256 of all files that make a trained reward, names and contents."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != NOT_THE_REWARD:
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            digest.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()


def check_length(folder: Path, longest: int) -> None:
    """Refuse a reward that was made for shorter texts than the task has.

    Args:
        folder: of the reward; an ensemble's members are looked at one by one.
        longest: tokens of prompt and response together.

    Raises:
        ValueError: if a header cannot be read, or the reward is too short.
    """
    for path in sorted(folder.rglob(HEADER)):
        try:
            header = read_json(path)
            limit = int(header.get("max_tokens", longest))
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise ValueError(
                f"--reward must hold a readable {HEADER}, got {str(path)!r}: {error}; "
                "train it again"
            ) from error
        if limit < longest:
            raise ValueError(
                f"--reward must be made for {longest} tokens, --max-prompt-tokens and "
                f"--max-new-tokens together, got {str(folder)!r} for {limit}; give smaller ones, "
                "or train one on a model with a longer window"
            )
