"""What the terminal shows of a training run: a table of evaluations, and responses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rlhf_env import Rollout, Task
from rlhf_env.mdp.render import printable

MEASURES = {
    "score": "score",
    "gold": "gold score",
    "win_rate": "wins against the reference",
    "return": "return (score less KL penalty)",
    "kl": "KL to the reference (nats per response)",
    "response_length": "response length (tokens)",
    "eos_rate": "responses that end by themselves",
    "entropy": "entropy (nats per token)",
    "distinct_2": "distinct pairs of tokens",
    "held_out_accuracy": "held-out comparisons predicted",
    "held_out_margin": "margin of held-out comparisons",
}
SHARES = ("win_rate", "eos_rate", "distinct_2", "held_out_accuracy")
MAX_SHOWN = 600


def evaluation_table(stages: Mapping[str, Mapping[str, float]]) -> Table:
    """Return one row per measure and one column per stage.

    Args:
        stages: "before" and perhaps "after" -> the measures of an evaluation.
    """
    table = Table("measure", box=None, pad_edge=False)
    for stage in stages:
        table.add_column(f"{stage} training", justify="right")
    for name, label in MEASURES.items():
        values = [numbers.get(name) for numbers in stages.values()]
        if any(value is not None for value in values):
            table.add_row(label, *(_cell(name, value) for value in values))
    return table


def sample_records(
    rollout: Rollout, task: Task, gold: Sequence[float] | None, stage: str
) -> list[dict[str, Any]]:
    """Return a rollout's episodes as plain values, the rows of ``samples.jsonl``.

    Args:
        rollout: B episodes.
        task: whose tokenizer turns ids into text.
        gold: [B] their gold scores; None if they are not known.
        stage: "before" or "after" training.
    """
    return list(_records(rollout, task, gold, stage))


def _records(
    rollout: Rollout, task: Task, gold: Sequence[float] | None, stage: str
) -> Iterator[dict[str, Any]]:
    pairs = zip(rollout.prompts(), rollout.responses(), strict=True)
    log_ratio = rollout.log_ratio
    for row, (prompt, response) in enumerate(pairs):
        mask = rollout.is_action[row]
        terms = {name: term[row][mask].tolist() for name, term in rollout.reward_terms.items()}
        yield {
            "run_id": task.name,
            "stage": stage,
            "prompt": task.decode(prompt),
            "response": task.decode(response),
            "tokens": [str(task.tokenizer.decode(token.reshape(1))) for token in response],
            "reward_terms": terms,
            "score": float(rollout.score[row]),
            "kl": float(log_ratio[row][mask].sum()),
            "finish_reason": "eos" if int(response[-1]) == task.eos_id else "length",
        } | ({} if gold is None else {"gold": float(gold[row])})


def print_samples(console: Console, stages: Sequence[Sequence[Mapping[str, Any]]]) -> None:
    """Print each prompt with its response of every stage, escaped so that none can do harm."""
    for episodes in zip(*stages, strict=True):
        prompt = cut(printable(episodes[0]["prompt"])) or "(empty prompt)"
        console.print(Text(f"\n> {prompt}", style="bold"))
        for episode in episodes:
            gold = f", gold {episode['gold']:+.2f}" if "gold" in episode else ""
            head = f"  {episode['stage']} (score {episode['score']:+.2f}{gold}): "
            end = "" if episode["finish_reason"] == "eos" else " …"
            body = cut(printable(episode["response"])) + end
            console.print(Text.assemble((head, "dim"), body))


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    # z: what is rounded to 0 has no sign.
    return f"{value:z.0%}" if name in SHARES else f"{value:z.3f}"


def cut(text: str) -> str:
    """Return a text, or so much of it as is shown."""
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]} …"
