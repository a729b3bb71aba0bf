"""TRL's DPO with the reference's log-probabilities precomputed; runs where TRL is installed."""

from __future__ import annotations

import tempfile
from typing import Any

import torch
import transformers
import trl
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.answers import pair_ids
from benchmarks.side_trl_group import Steps
from benchmarks.works import Order, conversation


def main() -> None:
    """Train, one step per request."""
    with conversation() as (order, bell), tempfile.TemporaryDirectory() as output:
        torch.set_num_threads(order.threads)
        steps = Steps(bell)
        trainer = make_trainer(order, steps, output)
        # The first batch's loader computes the reference's log-probabilities of all pairs.
        trainer.get_train_dataloader()
        steps.tokens = order.work.episodes * order.work.new_tokens
        bell.ready(
            trl=trl.__version__, torch=torch.__version__, transformers=transformers.__version__
        )
        trainer.train()


def make_trainer(order: Order, steps: Steps, output: str) -> Any:
    """Return TRL's trainer for the order's work."""
    work = order.work
    settings = {
        "output_dir": output,
        "learning_rate": order.learning_rate,
        "lr_scheduler_type": "constant",
        "max_steps": order.steps,
        "per_device_train_batch_size": work.prompts,
        "precompute_ref_log_probs": True,
        "precompute_ref_batch_size": work.prompts,
        "beta": order.kl_coef,
        "max_length": None,
        # Both would make it slower.
        "gradient_checkpointing": False,
        "bf16": False,
        "use_cpu": not torch.cuda.is_available(),
        "logging_steps": 1000,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    tokenizer = AutoTokenizer.from_pretrained(order.folder)
    texts: dict[str, list[str]] = {"prompt": [], "chosen": [], "rejected": []}
    for prompt, *answers in pair_ids(order):
        texts["prompt"].append(tokenizer.decode(prompt))
        for side, ids in zip(("chosen", "rejected"), answers, strict=True):
            # TRL adds the end token, and joins the texts without a space.
            texts[side].append(" " + tokenizer.decode(ids[:-1]))
    return trl.DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(order.folder, dtype=torch.float32),
        args=trl.DPOConfig(**settings),
        train_dataset=Dataset.from_dict(texts),
        processing_class=tokenizer,
        callbacks=[steps],
    )


if __name__ == "__main__":
    main()
