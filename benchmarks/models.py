"""Models, tokenizers and prompts for the comparison, made on the spot."""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
import transformers
from scipy.optimize import brentq
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from benchmarks.works import Work

PAD, EOS, FIRST_WORD = 0, 1, 2
# Log-odds that no draw of a float32 ever meets.
_NEVER = -60.0
_PROMPTS = 64


def make_folder(work: Work, folder: Path, model_dir: Path | None) -> None:
    """Write a model, its tokenizer and prompts.

    Args:
        work: the sizes.
        folder: an empty one.
        model_dir: take this model instead of a random one.
    """
    transformers.set_seed(0)
    if model_dir is None:
        random_model(work).save_pretrained(folder)
        word_tokenizer(work.vocab_size).save_pretrained(folder)
    else:
        AutoModelForCausalLM.from_pretrained(model_dir).save_pretrained(folder)
        endless_tokenizer(model_dir).save_pretrained(folder)
    write_prompts(work, folder)


def write_prompts(work: Work, folder: Path) -> None:
    """Write random prompts of the length that the work asks for."""
    generator = torch.Generator().manual_seed(0)
    shape = (_PROMPTS, work.prompt_tokens)
    prompts = torch.randint(FIRST_WORD, work.vocab_size, shape, generator=generator)
    (folder / "prompts.json").write_text(json.dumps(prompts.tolist()))


def random_model(work: Work) -> LlamaForCausalLM:
    """Return a Llama that ends its responses with the probability that the work asks for.

    One channel of the residual stream is the same for all tokens, so that the weight that the
    output embedding gives it in the row of EOS is a bias of the EOS logit.
    """
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=work.vocab_size,
            hidden_size=work.hidden_size,
            intermediate_size=work.intermediate_size,
            num_hidden_layers=work.layers,
            num_attention_heads=work.heads,
            num_key_value_heads=work.heads,
            max_position_embeddings=work.prompt_tokens + work.new_tokens,
            tie_word_embeddings=work.tied,
            pad_token_id=PAD,
            bos_token_id=None,
            eos_token_id=EOS,
        )
    ).eval()
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight[0] = 0.0
            layer.mlp.down_proj.weight[0] = 0.0
        model.model.embed_tokens.weight[:, 0] = 1.0
        words = torch.randint(FIRST_WORD, work.vocab_size, (8, work.prompt_tokens))
        constant = model.model(input_ids=words).last_hidden_state[..., 0].mean()
        others = 1.0 if work.tied else 0.0
        model.lm_head.weight[:, 0] = others
        model.lm_head.weight[EOS, 0] = others + eos_log_odds(work) / constant
    return model


def eos_log_odds(work: Work) -> float:
    """Return how much larger the EOS logit must be than the others, which are all alike."""
    if work.mean_tokens is None:
        return _NEVER

    def excess(probability: float) -> float:
        mean = (1.0 - (1.0 - probability) ** work.new_tokens) / probability
        return mean - work.mean_tokens  # type: ignore[operator]

    probability = brentq(excess, 1e-9, 1.0)
    return math.log(probability / (1.0 - probability) * (work.vocab_size - 1))


def word_tokenizer(vocab_size: int) -> PreTrainedTokenizerFast:
    """Return a tokenizer whose token i is the word "w<i>"."""
    words = {"<pad>": PAD, "<eos>": EOS} | {f"w{i}": i for i in range(FIRST_WORD, vocab_size)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>", padding_side="left"
    )


def endless_tokenizer(model_dir: Path) -> PreTrainedTokenizerFast:
    """Return a model's tokenizer with an end that the model never writes: the unknown token."""
    tokenizer = AutoTokenizer.from_pretrained(model_dir, padding_side="left")
    tokenizer.eos_token = tokenizer.pad_token = tokenizer.unk_token
    return tokenizer
