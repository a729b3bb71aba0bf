"""Train one agent on one task: a built-in one, or your model, prompts and reward.

    python scripts/train.py --task reviews --agent ppo --episodes 4096 --out runs/a
    python scripts/train.py --model my-model --prompts stories.jsonl --prompt-sentences 1 \
        --ratings ratings.jsonl --agent ppo --kl-coef 0.05 --max-new-tokens 48 --out runs/b
    python scripts/train.py --model my-model --prompts prompts.txt --reward my_reward.py:score

The same command again goes on where an interrupted one stopped. Exit status: 0 when the run is
finished, 1 when training or writing failed, 2 for settings that cannot be run, 130 after Ctrl-C.
"""

from __future__ import annotations

import signal
import sys

import tyro

from studies.ablation.streams import accept_any_text
from studies.ablation.version import is_version_asked
from studies.reporting.samples import printable
from studies.training.settings import Settings, as_typed


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, check it, and train.

    Args:
        arguments: the command line's words; those of the process by default.

    Returns:
        The exit status.
    """
    words = sys.argv[1:] if arguments is None else arguments
    if is_version_asked(words):
        return 0
    settings = tyro.cli(Settings, args=words, description=(__doc__ or "").split("\n")[0])
    try:
        return train(settings)
    except KeyboardInterrupt:
        print(
            f"train: interrupted; the same command goes on from the last checkpoint in "
            f"{settings.out}",
            file=sys.stderr,
        )
        return 130


def train(settings: Settings) -> int:
    """Check everything before anything is loaded or made, then build and run.

    Returns:
        The exit status.
    """
    try:
        from studies.training.checks import check_settings

        check_settings(settings)

        from studies.ablation.folder import TRAIN
        from studies.training.folder import check_folder
        from studies.training.material import read_material

        material = read_material(settings.problem.own) if settings.problem.model else None
        asked = settings.to_json() | {"digests": material.digests if material else {}}
        check_folder(settings.out, asked, TRAIN)
    except (ValueError, OSError) as error:
        return refused(error, 2)

    from rich.console import Console

    from studies.training.printed import show_finished

    console = Console(highlight=False, soft_wrap=True)
    if show_finished(settings, console):
        return 0
    try:
        if material is not None:
            from studies.training.own_checks import check_own_parts

            check_own_parts(settings.problem.model or "", settings.problem.own, material)

        # Agents take seconds to import, so what is refused is refused first.
        from studies.training.session import assemble, run

        assembly = assemble(settings, material, console)
    except ValueError as error:
        return refused(error, 2)
    try:
        run(settings, assembly, asked, console)
    except ValueError as error:
        return refused(error, 1)
    except OSError as error:
        return refused(ValueError(f"cannot write to {settings.out}: {error}"), 1)
    return 0


def refused(error: Exception, status: int) -> int:
    """Say in one paragraph what was wrong, and return the exit status."""
    sentence = as_typed(" ".join(str(error).split()))
    print(f"train: {printable(sentence)}", file=sys.stderr)
    return status


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)
    accept_any_text()
    sys.exit(main())
