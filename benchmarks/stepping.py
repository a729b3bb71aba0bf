"""What a step of the vector environment costs in addition to the unavoidable forward pass.

    python benchmarks/stepping.py                       # 32 rows, 15 M parameters, V = 32,000
    python benchmarks/stepping.py --new-tokens 992     # how the cost grows with the prefix

Three ways to compute log pi_ref of 32 texts that grow by a token are timed in turn, step by step,
in one process: the bare model with a Hugging Face cache and nothing else; the vector environment;
and a Gymnasium environment as it is usually written, which runs the whole prefix of its one row at
every step. Medians over steps.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import torch
import transformers
import tyro
from tokenizers import Tokenizer, models
from torch import Tensor
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import rlhf_env


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The sizes of the comparison."""

    rows: int = 32
    """Episodes side by side."""
    prompt_tokens: int = 32
    """Tokens of every prompt."""
    new_tokens: int = 96
    """Steps of every episode."""
    vocab_size: int = 32_000
    """V."""
    repeats: int = 3
    """Episodes that are timed."""
    threads: int = 2
    """Threads of PyTorch."""


def main(settings: Settings) -> None:
    """Time the three and print a table."""
    torch.set_num_threads(settings.threads)
    task = make_task(settings)
    envs = gym.make_vec("RLHF-v0", num_envs=settings.rows, task=task, autoreset_mode="Disabled")
    single = ReencodingEnv(task)
    episode(settings, task, envs, single, seed=0, steps=8)  # warms up
    times: dict[str, list[list[float]]] = {"bare": [], "env": [], "reencoding": []}
    for repeat in range(settings.repeats):
        found = episode(
            settings, task, envs, single, seed=repeat + 1, steps=settings.new_tokens - 1
        )
        for name, steps in found.items():
            times[name].append(steps)
    report(settings, {name: np.array(rows) for name, rows in times.items()}, task)


def make_task(settings: Settings) -> rlhf_env.Task:
    """Return a task whose reference is a random Llama of the size of stories15M."""
    transformers.set_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=settings.vocab_size,
            hidden_size=288,
            intermediate_size=768,
            num_hidden_layers=6,
            num_attention_heads=6,
            num_key_value_heads=6,
            max_position_embeddings=settings.prompt_tokens + settings.new_tokens,
            tie_word_embeddings=True,
        )
    )
    words = {"<eos>": 0} | {f"w{i}": i for i in range(1, settings.vocab_size)}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="w1")), eos_token="<eos>"
    )
    generator = torch.Generator().manual_seed(0)
    prompts = torch.randint(
        1, settings.vocab_size, (64, settings.prompt_tokens), generator=generator
    )
    return rlhf_env.Task(
        name="stepping",
        tokenizer=tokenizer,
        reference=model,
        reward=_length_reward,
        prompts=list(prompts),
        max_prompt_tokens=settings.prompt_tokens,
        max_new_tokens=settings.new_tokens,
    )


def _length_reward(prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
    return torch.tensor([float(len(ids)) for ids in responses])


class ReencodingEnv:
    """One row, whose whole prefix goes through the model at every step."""

    def __init__(self, task: rlhf_env.Task) -> None:
        """Take the task's reference."""
        self.task = task
        self.tokens = task.prompts[0]

    def reset(self, index: int) -> None:
        """Begin at a prompt."""
        self.tokens = self.task.prompts[index]

    @torch.no_grad()
    def step(self, action: int) -> float:
        """Append a token and return its log-probability."""
        logits = self.task.reference(input_ids=self.tokens[None]).logits[0, -1]
        self.tokens = torch.cat([self.tokens, torch.tensor([action])])
        return float(logits.log_softmax(-1)[action])


def episode(
    settings: Settings,
    task: rlhf_env.Task,
    envs: gym.vector.VectorEnv,
    single: ReencodingEnv,
    *,
    seed: int,
    steps: int,
) -> dict[str, list[float]]:
    """Return the seconds of each step of an episode, per way; the three take turns."""
    generator = np.random.default_rng(seed)
    actions = generator.integers(1, settings.vocab_size, (settings.new_tokens, settings.rows))
    chosen = generator.integers(len(task.prompts), size=settings.rows)
    prompts = torch.stack([task.prompts[i] for i in chosen.tolist()])
    envs.reset(options={"prompt_index": chosen.tolist()})
    single.reset(int(chosen[0]))
    cache = DynamicCache()

    @torch.no_grad()
    def bare(ids: Tensor) -> None:
        task.reference(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)

    bare(prompts)
    envs.step(actions[0])  # prefills
    times: dict[str, list[float]] = {"bare": [], "env": [], "reencoding": []}
    for t in range(1, steps):
        ids = torch.from_numpy(actions[t - 1])[:, None]
        times["bare"].append(_seconds(lambda ids=ids: bare(ids)))
        times["env"].append(_seconds(lambda t=t: envs.step(actions[t])))
        times["reencoding"].append(_seconds(lambda t=t: single.step(int(actions[t, 0]))))
    return times


def report(settings: Settings, times: dict[str, np.ndarray], task: rlhf_env.Task) -> None:
    """Print the machine, the medians and the ratios."""
    weights = sum(p.numel() for p in task.reference.parameters())
    print(
        f"{weights / 1e6:.1f} M parameters, V = {settings.vocab_size:,}, {settings.rows} rows, "
        f"{settings.threads} threads, {platform.machine()}, Python {platform.python_version()}, "
        f"torch {torch.__version__}, transformers {transformers.__version__}"
    )
    print(f"\n{'prefix':>12} {'bare ms':>9} {'env ms':>9} {'env/bare':>9} {'x re-encoding':>14}")
    steps = times["bare"].shape[1]
    parts = np.array_split(np.arange(steps), 4)
    for columns in [np.arange(steps), *parts]:
        bare, env, again = (np.median(times[n][:, columns]) for n in ("bare", "env", "reencoding"))
        pairs = np.median(times["env"][:, columns] / times["bare"][:, columns])
        first, last = (
            columns[0] + settings.prompt_tokens + 1,
            columns[-1] + settings.prompt_tokens + 1,
        )
        speedup = settings.rows * again / env
        print(
            f"{first:>5} - {last:<4} {bare * 1e3:>9.2f} {env * 1e3:>9.2f} {pairs:>9.2f} "
            f"{speedup:>14.1f}"
        )


def _seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
