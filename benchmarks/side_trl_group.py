"""TRL's GRPO and RLOO; runs in an environment that holds TRL."""

from __future__ import annotations

import tempfile
import time
from typing import Any

import torch
import transformers
import trl
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

from benchmarks.works import Bell, Order, conversation


class Steps(TrainerCallback):
    """Times the trainer's steps and starts each on request."""

    def __init__(self, bell: Bell) -> None:
        """Take the channel to `benchmarks.compare`."""
        self.bell = bell
        self.tokens = 0
        self.begun = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Wait until the step is requested."""
        if not self.bell.wait():
            raise SystemExit
        self.begun = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Report the step."""
        self.bell.done(time.perf_counter() - self.begun, self.tokens)


def main() -> None:
    """Train, one step per request."""
    with conversation() as (order, bell), tempfile.TemporaryDirectory() as output:
        if order.threads:
            torch.set_num_threads(order.threads)
        trainer = make_trainer(order, Steps(bell), output)
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
        "per_device_train_batch_size": work.episodes,
        "num_generations": work.group_size,
        "num_iterations": work.epochs,
        "max_completion_length": work.new_tokens,
        "temperature": 1.0,
        "beta": order.kl_coef,
        # Both would make it slower.
        "gradient_checkpointing": False,
        "bf16": False,
        "use_cpu": not torch.cuda.is_available(),
        "logging_steps": 1000,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }

    def even_ids(completion_ids: list[list[int]], **_: Any) -> list[float]:
        steps.tokens = sum(map(len, completion_ids))
        return [sum(i % 2 == 0 for i in ids) / max(1, len(ids)) for ids in completion_ids]

    trainer, config = (
        (trl.GRPOTrainer, trl.GRPOConfig)
        if work.algorithm == "grpo"
        else (trl.RLOOTrainer, trl.RLOOConfig)
    )
    tokenizer = AutoTokenizer.from_pretrained(order.folder)
    return trainer(
        model=AutoModelForCausalLM.from_pretrained(order.folder, dtype=getattr(torch, order.dtype)),
        reward_funcs=even_ids,
        args=config(**settings),
        train_dataset=Dataset.from_dict(
            {"prompt": [tokenizer.decode(ids) for ids in order.prompts()]}
        ),
        processing_class=tokenizer,
        callbacks=[steps],
    )


if __name__ == "__main__":
    main()
