"""The files of the reviews task: safetensors weights, JSON beside them, no pickle.

The language model's folder is one that `transformers` loads too.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_model, save_model
from transformers import LlamaForCausalLM

from rlhf_env.rewards.bradley_terry import ScalarRewardModel
from rlhf_env.tasks.reviews.figures import Figures
from rlhf_env.tasks.reviews.language_model import new_language_model
from rlhf_env.tasks.reviews.proxy import new_proxy
from rlhf_env.tasks.reviews.vocabulary import build_tokenizer

ASSETS = Path(__file__).parent / "assets"
WEIGHTS = "model.safetensors"


def save_assets(
    folder: Path, language_model: LlamaForCausalLM, proxy: ScalarRewardModel, figures: Figures
) -> None:
    """Write everything that `reviews_task` loads, each file whole or not at all."""

    def write_language_model(target: Path) -> None:
        language_model.save_pretrained(target)
        build_tokenizer().save_pretrained(target)

    def write_proxy(target: Path) -> None:
        proxy.trunk.config.save_pretrained(target)
        save_model(proxy, str(target / WEIGHTS))

    def write_figures(target: Path) -> None:
        (target / "figures.json").write_text(figures.to_json(), encoding="utf-8")

    _write(folder / "language_model", write_language_model)
    _write(folder / "proxy", write_proxy)
    _write(folder, write_figures)


def load_language_model(folder: Path) -> LlamaForCausalLM:
    """Return a new language model with the weights of a build, in eval mode."""
    model = new_language_model()
    load_model(model, _weights(folder / "language_model"))
    return model.eval()


def load_proxy(folder: Path) -> ScalarRewardModel:
    """Return a new proxy with the weights of a build, frozen and in eval mode."""
    proxy = new_proxy()
    load_model(proxy, _weights(folder / "proxy"))
    return proxy.requires_grad_(False).eval()


def load_figures(folder: Path) -> Figures:
    """Return what a build measured."""
    return Figures.read(folder / "figures.json")


def _weights(folder: Path) -> Path:
    path = folder / WEIGHTS
    if not path.is_file():
        raise FileNotFoundError(
            f"assets must hold {path}, got no such file; build them with scripts/build_reviews.py"
        )
    return path


def _write(folder: Path, write: Callable[[Path], None]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".writing-") as temporary:
        write(Path(temporary))
        for path in Path(temporary).iterdir():
            path.chmod(0o644)
            os.replace(path, folder / path.name)
