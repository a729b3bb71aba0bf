"""What a GPU makes of this project: equality tests first, then a table; under nine minutes.

    python -m benchmarks.gpu --out gpu
    python -m benchmarks.gpu --trl-python ENV/bin/python
    python -m benchmarks.gpu --device cpu --tiny     # tries the script itself

A random Qwen2 of 0.5 B parameters in bf16, 64 prompts x 8 responses of 512 tokens: tokens per
second of decoding beside what the memory's bandwidth allows, and of an update beside the peak of
matrix products, both measured in the same run by a copy and a product. TRL, without vLLM, does the
same step in its own process. Writes gpu.md.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
import tyro

from benchmarks.gpu_models import make_agent, make_qwen2
from benchmarks.gpu_passes import ragged_passes
from benchmarks.models import word_tokenizer, write_prompts
from benchmarks.sides import Side
from benchmarks.works import Order, Work
from rlhf_env.files import write_atomically

_ROOT = Path(__file__).parents[1]
# Where the tests marked gpu are.
GPU_TESTS = "tests/agents/rollouts", "tests/rlhf_env/engine/flex"
_FULL = Work(
    algorithm="grpo",
    vocab_size=151_936,
    hidden_size=896,
    intermediate_size=4864,
    layers=24,
    heads=14,
    tied=True,
    prompts=64,
    group_size=8,
    prompt_tokens=128,
    new_tokens=512,
)
_TINY = replace(
    _FULL,
    vocab_size=512,
    hidden_size=64,
    intermediate_size=128,
    layers=2,
    heads=4,
    prompts=2,
    group_size=2,
    prompt_tokens=8,
    new_tokens=8,
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is measured, and where."""

    device: str = "cuda"
    """Where the model is."""
    tiny: bool = False
    """A model and a batch that a CPU does in seconds."""
    tests: bool = True
    """Run the tests marked gpu first."""
    trl_python: Path | None = None
    """Interpreter of an environment with TRL 1.16 and CUDA."""
    steps: int = 2
    """Timed steps; one more comes first and is not counted."""
    out: Path = Path("gpu")
    """Path of the table, without the extension."""


def main(settings: Settings) -> None:
    """Run the tests, measure, print the table and write it."""
    if settings.device != "cpu" and not torch.cuda.is_available():
        raise SystemExit(f"device is {settings.device!r}, but there is no GPU; add --device cpu")
    if settings.tests:
        command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", *GPU_TESTS]
        subprocess.run(command, cwd=_ROOT, check=True)
    work = _TINY if settings.tiny else _FULL
    with tempfile.TemporaryDirectory() as folder:
        lines = [*machine(settings.device), "", "| measured | value |", "|---|---|"]
        for name, value in measure(work, Path(folder), settings):
            lines.append(f"| {name} | {value} |")
            print(lines[-1], flush=True)
    write_atomically(settings.out.with_suffix(".md"), ("\n".join(lines) + "\n").encode())


def machine(device: str) -> list[str]:
    """Return chip and versions."""
    chip = "CPU" if device == "cpu" else torch.cuda.get_device_name(device)
    return [f"{chip}; torch {torch.__version__}, transformers {transformers.__version__}."]


def measure(work: Work, folder: Path, settings: Settings) -> list[tuple[str, str]]:
    """Return the rows of the table."""
    model = make_qwen2(work)
    model.save_pretrained(folder)
    word_tokenizer(work.vocab_size).save_pretrained(folder)
    write_prompts(work, folder)
    order = Order(work=work, folder=folder, threads=0, steps=settings.steps + 2)
    agent = make_agent(order, settings.device)
    wait = (lambda: None) if settings.device == "cpu" else torch.cuda.synchronize
    bandwidth, peak = copied_bytes(settings, wait), multiplied(settings, wait)
    if settings.device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    collected, updated = [], []
    for _ in range(settings.steps + 1):
        rollout, seconds = timed(agent.collect, wait)
        collected.append(seconds)
        updated.append(timed(lambda rollout=rollout: agent.update(rollout), wait)[1])
    agent.policy.cuda_graphs = False
    launched = min(timed(agent.collect, wait)[1] for _ in range(settings.steps))
    agent.policy.cuda_graphs = True
    tokens, weights = work.episodes * work.new_tokens, sum(p.numel() for p in model.parameters())
    rollout_seconds, update_seconds = min(collected[1:]), min(updated[1:])
    # A token of every row reads all weights once and the row's keys and values.
    size = 2 * weights + work.episodes * cache_bytes(work)
    read = work.new_tokens * size
    # Forward and backward: 6 operations a weight and token; prompts are run once for a group.
    done = 6 * weights * (tokens + work.prompts * work.prompt_tokens)
    rows = [
        ("copy, GB/s", f"{bandwidth / 1e9:,.0f}"),
        ("product of matrices in bf16, TFLOP/s", f"{peak / 1e12:,.1f}"),
        ("rollout with rewards, tokens/s", f"{tokens / rollout_seconds:,.0f}"),
        ("its share of the bandwidth", f"{read / rollout_seconds / bandwidth:.1%}"),
        ("rollout without CUDA graphs, tokens/s", f"{tokens / launched:,.0f}"),
        ("update, tokens/s", f"{tokens / update_seconds:,.0f}"),
        ("its share of the peak", f"{done / update_seconds / peak:.1%}"),
        ("step, s", f"{rollout_seconds + update_seconds:.2f}"),
    ]
    if settings.device != "cpu":
        rows.append(("peak memory, GB", f"{torch.cuda.max_memory_allocated() / 1e9:.1f}"))
    rows += ragged_passes(
        agent.policy,
        rollout,
        lambda work: min([timed(work, wait)[1] for _ in range(settings.steps + 1)][1:]),
    )
    if settings.trl_python is not None:
        del agent
        with Side("trl_group", settings.trl_python, replace(order, dtype="bfloat16")) as side:
            seconds = min([side.step().seconds for _ in range(settings.steps + 1)][1:])
        rows.append(("TRL without vLLM, s a step", f"{seconds:.2f}"))
        ratio = seconds / (rollout_seconds + update_seconds)
        rows.append(("this project's speed relative to it", f"{ratio:.2f}"))
    return rows


def cache_bytes(work: Work) -> float:
    """Return the bytes of keys and values that a row reads for a token, on average, in bf16."""
    width = 2 * work.hidden_size // work.heads * 2
    return 2 * 2 * work.layers * width * (work.prompt_tokens + work.new_tokens / 2) / 2


def copied_bytes(settings: Settings, wait: Callable[[], None]) -> float:
    """Return how many bytes a second a copy reads and writes."""
    source = torch.zeros(2**20 if settings.tiny else 2**30, device=settings.device)
    target = torch.empty_like(source)
    return 2 * source.numel() * 4 / best(lambda: target.copy_(source), wait)


def multiplied(settings: Settings, wait: Callable[[], None]) -> float:
    """Return how many operations a second a large product in bf16 takes."""
    size = 256 if settings.tiny else 8192
    factor = torch.ones(size, size, device=settings.device, dtype=torch.bfloat16)
    return 2 * size**3 / best(lambda: factor @ factor, wait)


def best(work: Callable[[], object], wait: Callable[[], None]) -> float:
    """Return the seconds of the quickest of ten times."""
    work()
    return min(timed(work, wait)[1] for _ in range(10))


def timed(work: Callable[[], Any], wait: Callable[[], None]) -> tuple[Any, float]:
    """Return what some work gave, and its seconds until the device had done it."""
    wait()
    begun = time.perf_counter()
    found = work()
    wait()
    return found, time.perf_counter() - begun


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
