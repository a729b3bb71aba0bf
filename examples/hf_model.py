"""Any decoder-only Hugging Face model becomes the policy: train it, export it, load it elsewhere.

    python examples/hf_model.py --model path/to/model --prompts "Once upon a time" "The sea"
    python examples/hf_model.py

Without `--model` a tiny Llama with random weights is built in a temporary folder, so that nothing
is downloaded. The reward is a plain function of texts, here one that likes short words.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

import rlhf_env
from agents import GRPO

WORDS = ["a", "an", "I", "we", "sea", "sun", "sky", "boat", "wind", "sailed", "lighthouse"]
PROMPTS = ["the sea", "the wind", "the lighthouse"]


def short_words(prompts: list[str], responses: list[str]) -> list[float]:
    """Return minus the mean number of letters of a response's words."""
    words = [response.split() for response in responses]
    return [-sum(map(len, each)) / len(each) if each else -10.0 for each in words]


def build_tiny_model(folder: Path) -> None:
    """Write a Llama of 20,000 random weights with a tokenizer of whole words."""
    vocabulary = {word: i for i, word in enumerate(["<pad>", "<eos>", "the", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="the"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(vocabulary),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=64,
            pad_token_id=0,
            bos_token_id=None,
            eos_token_id=1,
        )
    )
    model.save_pretrained(folder)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>")
    fast.save_pretrained(folder)


def train(model: Path, prompts: list[str], episodes: int, out: Path) -> tuple[float, float]:
    """Train a model, export it to a folder, and return the mean score before and after."""
    task = rlhf_env.Task.from_pretrained(
        str(model),
        reward=short_words,
        prompts=prompts,
        max_prompt_tokens=32,
        max_new_tokens=12,
        kl_coef=0.05,
    )
    envs = gym.make_vec("RLHF-v0", num_envs=16, task=task)
    agent = GRPO(envs, learning_rate=3e-3, episodes_per_update=32, group_size=8, seed=0)
    before = agent.evaluate(episodes=64)["score"]
    agent.learn(total_episodes=episodes, progress=False)
    figures = agent.evaluate(episodes=64)
    print(f"score {before:+.2f} before, {figures['score']:+.2f} after, KL {figures['kl']:.2f} nats")
    agent.export(out)
    return before, figures["score"]


def generate(folder: Path, prompt: str) -> str:
    """Return what the exported model writes, by `transformers` alone."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
    output = model.generate(**inputs, do_sample=False, max_new_tokens=12)
    return tokenizer.decode(output[0], skip_special_tokens=True)


def main(
    model: str | None, prompts: list[str], episodes: int, out: Path | None
) -> tuple[tuple[float, float], str]:
    """Train and export, into a temporary folder unless another is named."""
    with tempfile.TemporaryDirectory() as scratch:
        if model is None:
            model = f"{scratch}/tiny-model"
            build_tiny_model(Path(model))
        target = out or Path(scratch) / "exported"
        scores = train(Path(model), prompts, episodes, target)
        text = generate(target, prompts[0])
    print(f"the exported model writes {text!r}")
    return scores, text


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="folder or hub id; none given: a tiny one is built")
    parser.add_argument("--prompts", nargs="+", default=PROMPTS)
    parser.add_argument("--episodes", type=int, default=960)
    parser.add_argument("--out", type=Path, help="folder of the exported model")
    main(**vars(parser.parse_args()))
