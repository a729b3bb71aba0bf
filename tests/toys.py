"""Small models and tasks whose numbers are known or can be worked out by hand."""

from __future__ import annotations

import copy
import math
from typing import TypeVar

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from rlhf_env.task import Task
from rlhf_env.tasks.table_lm import TableLM

EOS = 1
FAVORITE = 5

Model = TypeVar("Model", bound=PreTrainedModel)


def theta_policy(task: Task) -> TableLM:
    """A policy for "toy15" that is not its reference: logits + 0.3 sin(1 + state + token)."""
    policy = copy.deepcopy(task.reference)
    assert isinstance(policy, TableLM)
    tokens, states = torch.meshgrid(torch.arange(3), torch.arange(7), indexing="ij")
    with torch.no_grad():
        policy.lm_head.weight.add_(0.3 * torch.sin(1.0 + states + tokens))
    return policy.requires_grad_(True)


class FavoriteTokenReward:
    """One point for every token 5, a tenth less for every token whatsoever."""

    def __call__(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        return torch.stack([scores[-1] for scores in self.prefix_scores(prompts, responses)])

    def prefix_scores(self, prompts: list[Tensor], responses: list[Tensor]) -> list[Tensor]:
        paid = [(ids == FAVORITE).double() - 0.1 for ids in responses]
        return [torch.cat([row.new_zeros(1), row.cumsum(0)]) for row in paid]


def tiny_tokenizer(vocab_size: int = 32) -> PreTrainedTokenizerFast:
    """Token 0 pads, token 1 ends, token i is the word "w<i>"."""
    words = ["<pad>", "</s>", *(f"w{i}" for i in range(2, vocab_size))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", pad_token="<pad>")


def tiny_llama(vocab_size: int = 32, seed: int = 0) -> LlamaForCausalLM:
    """A decoder with rotary positions and two query heads for each key."""
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=EOS,
    )
    return _random_weights(LlamaForCausalLM(config), seed)


def tiny_gpt2(vocab_size: int = 32, seed: int = 0, dropout: float = 0.0) -> GPT2LMHeadModel:
    """A decoder with learned absolute positions and tied embeddings."""
    config = GPT2Config(
        vocab_size=vocab_size,
        n_embd=32,
        n_layer=2,
        n_head=2,
        n_positions=128,
        resid_pdrop=dropout,
        embd_pdrop=dropout,
        attn_pdrop=dropout,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=EOS,
    )
    return _random_weights(GPT2LMHeadModel(config), seed)


def tiny_llama_task(*, vocab_size: int = 32, horizon: int = 8, seed: int = 0) -> Task:
    """A task on `tiny_llama` with prompts of one to five tokens."""
    return _tiny_task("tiny-llama", tiny_llama(vocab_size, seed), vocab_size, horizon)


def tiny_gpt2_task(
    *, vocab_size: int = 32, horizon: int = 8, seed: int = 0, dropout: float = 0.0
) -> Task:
    """A task on `tiny_gpt2` with prompts of one to five tokens."""
    return _tiny_task("tiny-gpt2", tiny_gpt2(vocab_size, seed, dropout), vocab_size, horizon)


def _tiny_task(name: str, reference: PreTrainedModel, vocab_size: int, horizon: int) -> Task:
    return Task(
        name=name,
        tokenizer=tiny_tokenizer(vocab_size),
        reference=reference,
        reward=FavoriteTokenReward(),
        prompts=[torch.tensor(ids) for ids in ([2], [3, 2], [2, 3, 2, 2, 3])],
        max_prompt_tokens=5,
        max_new_tokens=horizon,
        kl_coef=0.1,
    )


def _random_weights(model: Model, seed: int) -> Model:
    """Draw weights wide enough that next-token distributions are far from uniform."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                spread = 1.5 / math.sqrt(parameter.shape[-1])
                parameter.normal_(0.0, spread, generator=generator)
    return model.eval()
