"""The files and the function that a task is made of, read and checked before a model is loaded."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rlhf_env.files import sha256
from rlhf_env.rewards.feedback.rated_texts import RatedTexts, is_held_out, read_rated_texts
from rlhf_env.rewards.signature import Signature
from rlhf_env.text.prompt_rows import PromptRow
from rlhf_env.text.prompts import read_prompt_rows
from rlhf_env.text.rows import MissingColumnError
from rlhf_env.text.text_ids import is_chat
from studies.experiment.references import existing_file, import_from_file, import_object
from studies.experiment.task.spec import OwnTask
from studies.experiment.trained_reward import folder_digest, is_folder, reward_folder

TextFunction = Callable[..., Sequence[float]]
# A sentence ends at . ! or ?, with the quotes and brackets that close it, before white space.
SENTENCE_END = re.compile(r"""(?<=[.!?])["')\]]*(?=\s)""")


@dataclass(frozen=True, kw_only=True)
class TaskInputs:
    """What a task is made of besides its model."""

    prompts: list[PromptRow]
    """Texts or chats to train on, with the other columns of their rows."""
    eval_prompts: list[PromptRow]
    """Those to evaluate on, none of which is trained on where there are enough."""
    ratings: RatedTexts | None
    """Rated texts to learn a reward from; None where a function is the reward."""
    function: TextFunction | None
    """The reward as a function of texts; None where it is learned."""
    digests: dict[str, str]
    """SHA-256 of each file that was read, by option."""
    trained: Path | None = None
    """Folder of a reward that was trained before; None where there is none."""


def read_inputs(own: OwnTask) -> TaskInputs:
    """Read prompts and ratings, or import the reward.

    Raises:
        ValueError: if a file or the function cannot be used, naming option, row and columns.
    """
    prompts_file = existing_file(own.prompts, "--prompts")
    rows = read_rows(prompts_file, own.prompt_field, own.prompt_sentences)
    held_out = [row for row in rows if is_held_out(_text_of(row.prompt))]
    kept = [row for row in rows if not is_held_out(_text_of(row.prompt))]
    ratings, function, trained = None, None, None
    if own.ratings is not None:
        path = existing_file(own.ratings, "--ratings")
        with _columns_set_by("--ratings-text", "--ratings-value"):
            ratings = read_rated_texts(
                path, own.ratings_text, own.ratings_value, option="--ratings"
            )
    elif is_folder(own.reward or ""):
        trained = reward_folder(own.reward or "")
    else:
        columns = {name for row in rows for name in row.columns}
        function = import_reward(own.reward or "", columns)
    enough = bool(kept and held_out)
    return TaskInputs(
        prompts=kept if enough else rows,
        eval_prompts=held_out if enough else rows,
        ratings=ratings,
        function=function,
        digests=file_digests(own),
        trained=trained,
    )


def file_digests(own: OwnTask) -> dict[str, str]:
    """Return the SHA-256 of each file that a task is made of, by option; nothing is imported.

    Raises:
        ValueError: if a file is missing.
    """
    code = Path((own.reward or "").rpartition(":")[0])
    files = {"prompts": existing_file(own.prompts, "--prompts")}
    if own.ratings is not None:
        files["ratings"] = existing_file(own.ratings, "--ratings")
    elif code.suffix == ".py":
        files["reward"] = existing_file(code, "--reward")
    digests = {option: sha256(path) for option, path in files.items()}
    if own.reward is not None and is_folder(own.reward):
        digests["reward"] = folder_digest(reward_folder(own.reward))
    return digests


def read_rows(path: Path, field: str, sentences: int | None) -> list[PromptRow]:
    """Return the prompts of a file, texts cut to their first sentences if asked.

    Raises:
        ValueError: if there is none, or a row has no text and no chat.
    """
    with _columns_set_by("--prompt-field"):
        rows = read_prompt_rows(path, "--prompts", field)
    for number, row in enumerate(rows, start=1):
        is_text = isinstance(row.prompt, str) and row.prompt.strip()
        if not is_text and not (is_chat(row.prompt) and sentences is None):
            expected = "a text" if sentences is not None else "a text or chat messages"
            raise ValueError(
                f"--prompts: row {number} of {str(path)!r} must have {expected} in {field!r}, got "
                f"{row.prompt!r:.60}; correct or remove the row"
            )
    if not rows:
        raise ValueError(f"--prompts must hold at least one prompt, got the empty {str(path)!r}")
    if sentences is None:
        return rows
    return [replace(row, prompt=first_sentences(row.prompt, sentences)) for row in rows]


@contextmanager
def _columns_set_by(*options: str) -> Iterator[None]:
    """Add to the error of a missing column which options name columns."""
    try:
        yield
    except MissingColumnError as error:
        raise ValueError(f"{error}; name yours by {' and '.join(options)}") from error


def _text_of(prompt: Any) -> str:
    """Return a text that stands for a prompt; the same for the same messages."""
    return prompt if isinstance(prompt, str) else json.dumps(list(prompt), default=str)


def first_sentences(text: str, count: int) -> str:
    """Return the first sentences of a text, or all of a text that has fewer."""
    start = len(text) - len(text.lstrip())
    ends = [match.end() for match in SENTENCE_END.finditer(text)]
    return text[start : ends[count - 1]] if len(ends) >= count else text.strip()


def import_reward(reference: str, columns: Collection[str] = ()) -> TextFunction:
    """Return the function that ``module:function`` or ``file.py:function`` refers to.

    Args:
        reference: names it.
        columns: of the prompts' rows, which it may take too.

    Raises:
        ValueError: if it cannot be imported or does not take prompts, responses and columns.
    """
    if reference.rpartition(":")[0].endswith(".py"):
        function = import_from_file(reference, "--reward")
    else:
        function = import_object(reference, "--reward")
    try:
        signature = Signature.of(function)
        signature.check(columns)
        by_position, by_name = signature.arguments(
            [], [], {name: [] for name in signature.required}
        )
        inspect.signature(function).bind(*by_position, **by_name)
    except TypeError as error:
        raise ValueError(
            f"--reward must be a function of two lists of texts (prompts, responses), and of "
            f"columns of the prompts' rows, got {reference!r}: {error}"
        ) from error
    return function
