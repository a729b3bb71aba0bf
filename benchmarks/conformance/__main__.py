"""Run the conformance checks on the functions of other libraries and print the table.

    python -m benchmarks.conformance > docs/results/conformance.md

It needs TRL, verl, OpenRLHF (whose packages for GPUs are not needed), TorchRL and
Stable-Baselines3; a library that is not installed is left out, and named on stderr.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

from benchmarks.conformance.page import page
from rlhf_env.testing import Result, TrainerLoss, trainer_loss_results

Losses = Callable[[], dict[str, TrainerLoss]]
# package -> where its functions are.
LIBRARIES = {
    "trl": "of_trl:losses",
    "verl": "of_verl:losses",
    "openrlhf": "of_openrlhf:losses",
    "torchrl": "of_others:torchrl",
    "stable-baselines3": "of_others:stable_baselines3",
}
# Checks of what a function is not told: these two take the end of an episode and no mask, and the
# adapter of the second takes the padding away.
SKIPPED = {
    "torchrl": ("tokens_of_others_are_no_steps",),
    "stable-baselines3": ("tokens_of_others_are_no_steps", "values_of_the_padding_leak_nowhere"),
}


def found(package: str) -> dict[str, list[Result]]:
    """Return what became of the checks of each function of a library."""
    module, name = LIBRARIES[package].split(":")
    losses: Losses = getattr(importlib.import_module(f"benchmarks.conformance.{module}"), name)
    return {
        name: trainer_loss_results(loss, skip=SKIPPED.get(package, ()))
        for name, loss in losses().items()
    }


def main() -> None:
    """Print the page."""
    warnings.simplefilter("ignore")
    tables, versions = {}, {}
    for package in LIBRARIES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            print(f"{package} is not installed and is left out", file=sys.stderr)
            continue
        tables[package] = found(package)
    versions["torch"] = version("torch").partition("+")[0]
    print(page(tables, versions), end="")


if __name__ == "__main__":
    main()
