"""TRL's experimental PPO; runs in an environment that holds TRL 1.12."""

from __future__ import annotations

import os
import tempfile
import time
from typing import Any

import torch
import transformers
import trl
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    TrainerCallback,
)

from benchmarks.works import Bell, Order, conversation


class Updates(TrainerCallback):
    """Times the trainer's updates and starts each on request."""

    def __init__(self, bell: Bell, tokens: int) -> None:
        """Take the channel to `benchmarks.compare` and the response tokens of an update."""
        self.bell = bell
        self.tokens = tokens
        self.begun = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Wait until the first update is requested."""
        self._wait()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Report the update, and wait for the next."""
        self.bell.done(time.perf_counter() - self.begun, self.tokens)
        self._wait()

    def _wait(self) -> None:
        if not self.bell.wait():
            raise SystemExit
        self.begun = time.perf_counter()


def main() -> None:
    """Train, one update per request."""
    # On import the package warns that it may change.
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    with conversation() as (order, bell), tempfile.TemporaryDirectory() as output:
        torch.set_num_threads(order.threads)
        trainer = make_trainer(order, bell, output)
        bell.ready(
            trl=trl.__version__, torch=torch.__version__, transformers=transformers.__version__
        )
        trainer.train()


def make_trainer(order: Order, bell: Bell, output: str) -> Any:
    """Return TRL's trainer for the order's work."""
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    work = order.work
    config = PPOConfig(
        output_dir=output,
        learning_rate=order.learning_rate,
        lr_scheduler_type="constant",
        total_episodes=order.steps * work.episodes,
        per_device_train_batch_size=work.episodes,
        num_ppo_epochs=work.epochs,
        num_mini_batches=1,
        response_length=work.new_tokens,
        temperature=1.0,
        kl_coef=order.kl_coef,
        num_sample_generations=0,
        # Both would make it slower.
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=not torch.cuda.is_available(),
        logging_steps=1000,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    prompts = Dataset.from_dict({"input_ids": order.prompts()})
    return PPOTrainer(
        args=config,
        processing_class=AutoTokenizer.from_pretrained(order.folder),
        model=_load(AutoModelForCausalLM, order),
        ref_model=_load(AutoModelForCausalLM, order),
        reward_model=_load(AutoModelForSequenceClassification, order, num_labels=1),
        value_model=_load(AutoModelForSequenceClassification, order, num_labels=1),
        train_dataset=prompts,
        eval_dataset=prompts,
        callbacks=[Updates(bell, work.episodes * work.new_tokens)],
    )


def _load(kind: Any, order: Order, **settings: Any) -> Any:
    transformers.set_seed(1)
    return kind.from_pretrained(order.folder, dtype=torch.float32, **settings)


if __name__ == "__main__":
    main()
