"""A model server in another process, for as long as some tests need it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx
from safetensors.torch import save_file
from torch import nn


@contextmanager
def served() -> Iterator[str]:
    """Hold the address of a server."""
    command = [sys.executable, "-m", "tests.agents.samplers.model_server"]
    root = Path(__file__).parents[3]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def begin(url: str, name: str) -> None:
    """Let a server have a model's first weights: the reference of "toy15", or a tiny "gpt2"."""
    httpx.post(f"{url}/begin", json={"name": name}, timeout=60).raise_for_status()


def serve_weights(url: str, model: nn.Module, folder: Path) -> None:
    """Let a server take over a model's weights."""
    path = folder / "weights.safetensors"
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path)
    httpx.post(f"{url}/load", json={"path": str(path)}, timeout=60).raise_for_status()
