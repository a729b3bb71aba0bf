"""The command ``rlhf-env``: finds a subcommand and runs it as ``python scripts/NAME.py`` would.

What a subcommand needs is imported when it is chosen, so that ``rlhf-env --help`` is quick and
works without the extra ``studies``.
"""

from __future__ import annotations

import difflib
import importlib
import sys

from studies.cli.entry import launch

# As typed, to the module of `studies.cli.commands` and what it does.
SUBCOMMANDS = {
    "train": ("train", "train one agent on a built-in task, or on your model and reward"),
    "ablate": ("ablate", "compare agents, discounts, densities and granularities over seeds"),
    "report": ("report", "make the HTML report and the figures of an ablation"),
    "gains": ("gains", "show what one value of an axis gains over another, seed by seed"),
    "evaluate": ("evaluate", "evaluate a saved agent, with intervals"),
    "compare": ("compare", "compare two saved agents on the same prompts"),
    "export": ("export", "write a saved agent's policy as a Hugging Face model folder"),
    "check": ("check", "check a task, reward, wrapper, agent or loss against its contract"),
    "train-reward": ("train_reward", "learn a reward from pairs, votes, ratings or marked spans"),
    "label": ("label", "let people judge responses in a browser"),
    "rounds": ("rounds", "label new responses, learn the reward anew, train further"),
    "overoptimization": ("overoptimization", "measure over-optimization of learned rewards"),
    "early-warning": ("early_warning", "measure how early signals of reward hacking speak"),
    "preference": ("preference", "learn from comparisons directly and by a reward model"),
    "variance": ("variance", "measure the variance of policy gradients"),
    "estimators": ("estimators", "measure bias and variance of every gradient estimator"),
    "critics": ("critics", "measure what an untrained critic does to the first updates"),
    "credit": ("credit", "grade how well credit assignments find the causal tokens"),
    "scaling": ("scaling", "fit how the episodes needed grow with the horizon"),
    "value-learning": ("value_learning", "measure where value-based methods end up, and how soon"),
    "zoo": ("zoo", "measure published claims again, each with a verdict"),
    "reward-report": ("reward_report", "report how well reward models agree with people"),
}


def main() -> None:
    """Run what the command line names and end this process with its exit status."""
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        sys.exit(0 if words else 2)
    if words[0] == "--version":
        importlib.import_module("studies.cli.version").is_version_asked(words)
        sys.exit(0)
    name, rest = words[0].replace("_", "-"), words[1:]
    if name not in SUBCOMMANDS:
        print(f"rlhf-env: {unknown(words[0])}", file=sys.stderr)
        sys.exit(2)
    # The first word of usage lines and error messages.
    sys.argv = [f"rlhf-env {name}", *rest]
    module, _ = SUBCOMMANDS[name]
    launch(module)


def usage() -> str:
    """Return the help text."""
    width = max(map(len, SUBCOMMANDS))
    lines = [f"  {name:<{width}}  {what}" for name, (_, what) in SUBCOMMANDS.items()]
    return "\n".join(
        [
            "usage: rlhf-env [-h] [--version] SUBCOMMAND ...",
            "",
            *lines,
            "",
            "rlhf-env SUBCOMMAND --help lists a subcommand's options.",
        ]
    )


def unknown(name: str) -> str:
    """Return one sentence about a name that is not a subcommand, with the nearest one that is."""
    near = difflib.get_close_matches(name, SUBCOMMANDS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(SUBCOMMANDS)}"
    return f"there is no subcommand {name!r}; {hint}"
