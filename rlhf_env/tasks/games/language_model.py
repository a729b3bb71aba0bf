"""The small language models of the games: their shape and their files."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_model, save_model
from transformers import LlamaForCausalLM

from rlhf_env.tasks.games.words import EOS_ID
from rlhf_env.tasks.pretraining import draw_weights, new_model, small_config

ASSETS = Path(__file__).parent / "assets"


def new_language_model(vocab_size: int) -> LlamaForCausalLM:
    """Return a model whose weights are to be loaded or drawn; the global generator is untouched."""
    return new_model(small_config(vocab_size, EOS_ID, EOS_ID))


def drawn_language_model(vocab_size: int, generator: torch.Generator) -> LlamaForCausalLM:
    """Return a model with random weights."""
    model = new_language_model(vocab_size)
    draw_weights(model, generator)
    return model


def save_language_model(model: LlamaForCausalLM, game: str, folder: Path = ASSETS) -> Path:
    """Write a game's weights whole or not at all, and return their file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = _weights(game, folder)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".writing-") as temporary:
        written = Path(temporary) / path.name
        save_model(model, str(written))
        written.chmod(0o644)
        os.replace(written, path)
    return path


def load_language_model(game: str, vocab_size: int, folder: Path = ASSETS) -> LlamaForCausalLM:
    """Return a new model with the weights of a build, in eval mode.

    Raises:
        FileNotFoundError: if the folder holds none of this game.
    """
    path = _weights(game, folder)
    if not path.is_file():
        raise FileNotFoundError(
            f"assets must hold {path}, got no such file; build it with scripts/build_games.py"
        )
    model = new_language_model(vocab_size)
    load_model(model, path)
    return model.eval()


def _weights(game: str, folder: Path) -> Path:
    return folder / f"{game}.safetensors"
