"""The settings of `scripts/label.py` and their checks. No file is read here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from studies.experiment.numbers import whole_number

ASKS = ("compare", "rank", "thumbs", "rate", "mark")
# Each point of a scale is a button, and a key.
MAX_SCALE = 11
MAX_ERROR_TYPES = 9
MAX_SEED = 2**32 - 1


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Let people judge responses in a browser, on this machine."""

    data: Path | None = None
    """JSONL or Parquet file (.gz too): a prompt and its response or responses per row."""
    out: Path = Path("runs/labels")
    """Folder for what people said; the same command again goes on where it stopped."""
    ask: str | None = None
    """compare, rank, thumbs, rate or mark (none given: the row's own column "ask", else by the
    number of its responses: thumbs for one, compare for two, rank for more)."""
    instructions: Path | None = None
    """Text file that annotators are shown."""
    annotators_per_item: int = 1
    """How many people judge each item; from two on there is agreement to show."""
    scale: tuple[int, int] = (1, 5)
    """Lowest and highest rating."""
    error_types: tuple[str, ...] = ("error",)
    """What a marked part can be wrong with."""
    seed: int = 0
    """Of each annotator's order of items and sides."""
    host: str = "127.0.0.1"
    """Address to listen at; any but the default opens the page to a network."""
    port: int = 8765
    """Port to listen at; 0 takes a free one."""
    allow_host: tuple[str, ...] = ()
    """Names under which browsers reach the page, besides this machine's own."""
    export: bool = False
    """Write what was said so far to the folder's files, and leave; the page can stay open."""


def check_settings(settings: Settings) -> None:
    """Refuse settings that cannot be used.

    Raises:
        ValueError: one sentence with the option, what it got, and what would be right.
    """
    if settings.data is None and not settings.export:
        raise ValueError("--data must name the file of responses to judge, got none; name it")
    if settings.ask is not None and settings.ask not in ASKS:
        raise ValueError(f"--ask must be one of {', '.join(ASKS)}, got {settings.ask!r}")
    whole_number("--annotators-per-item", settings.annotators_per_item, 1)
    whole_number("--seed", settings.seed, 0, MAX_SEED)
    whole_number("--port", settings.port, 0, 2**16 - 1)
    low, high = settings.scale
    if not 1 <= high - low < MAX_SCALE:
        raise ValueError(
            f"--scale must be two whole numbers, the higher last, with at most {MAX_SCALE} points, "
            f"got {low} {high}; choose 1 5"
        )
    types = settings.error_types
    if not 0 < len(types) <= MAX_ERROR_TYPES or len({"", "good", *types}) < len(types) + 2:
        raise ValueError(
            f"--error-types must be 1 to {MAX_ERROR_TYPES} different names other than good, got "
            f"{list(types)}"
        )
    for name in settings.allow_host:
        if not name or "*" in name or "/" in name or ":" in name:
            raise ValueError(
                f"--allow-host must be a name as browsers send it, without port, got {name!r}"
            )
