"""Train the agents of `scenarios` in the processes that a launcher started.

python -m tests.agents.processes.worker FOLDER SET [NAME ...]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import save_file

from agents.processes.group import is_first, leave
from tests.agents.processes.scenarios import SETS
from tests.agents.runs import without_time


def train_all(folder: Path, chosen: str, names: Iterable[str] = ()) -> None:
    """Write the metrics and the weights of every run of a set, or of some of them."""
    for name in names or SETS[chosen]:
        make, updates = SETS[chosen][name]
        own = folder / name
        own.mkdir(parents=True, exist_ok=True)
        agent = make(own)
        history = agent.learn(updates * agent.episodes_per_update, progress=False)
        history[-1] |= agent.evaluate(10)
        if is_first():
            (own / "metrics.json").write_text(json.dumps(without_time(history)))
            weights = {n: p.detach().clone() for n, p in agent.policy.named_parameters()}
            save_file(weights, own / "weights.safetensors")


if __name__ == "__main__":
    torch.set_num_threads(1)
    train_all(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
    leave()
