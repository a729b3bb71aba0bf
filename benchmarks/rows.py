"""The rows of the table: which pieces of work are timed on which sides, and the targets."""

from __future__ import annotations

from dataclasses import dataclass, replace

from benchmarks.works import Work


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison."""

    key: str
    """Its name on the command line."""
    label: str
    """Its name in the table."""
    own: Work
    """This project's work."""
    others: tuple[tuple[str, Work], ...]
    """Side and work of each program that it is compared with, the one that the target refers to
    first.
    """
    target: float
    """Target speed of this project relative to that one, in tokens per second."""


def _against(key: str, label: str, work: Work, peer: str, target: float) -> Row:
    others = ((peer, work), ("bare", work))
    return Row(key=key, label=label, own=work, others=others, target=target)


_LARGE = Work(
    algorithm="grpo",
    vocab_size=32_000,
    hidden_size=288,
    intermediate_size=768,
    layers=6,
    heads=6,
    tied=True,
)
_SMALL = Work(algorithm="grpo")
_GEOMETRIC = replace(_SMALL, prompts=8, new_tokens=256, mean_tokens=64.0)
_STORIES = Work(algorithm="ppo", prompts=32, group_size=1, epochs=4)
_LONG = replace(_SMALL, prompts=1, new_tokens=1024, phase="rollout")
_SHORT = replace(_LONG, new_tokens=128)
_LARGE_UPDATE = replace(_LARGE, phase="update")
_SMALL_UPDATE = replace(_SMALL, phase="update")
_PAIRS = replace(_LARGE, algorithm="dpo", prompts=8, group_size=2, prompt_tokens=256, new_tokens=32)

ROWS = (
    _against("grpo-15m", "GRPO, 64 tokens, 15 M, V 32,000", _LARGE, "trl_group", 4.0),
    _against("grpo-1m", "GRPO, 64 tokens, 1 M, V 512", _SMALL, "trl_group", 1.6),
    _against(
        "rloo-1m",
        "RLOO, 64 tokens, 1 M, V 512",
        replace(_SMALL, algorithm="rloo"),
        "trl_group",
        1.3,
    ),
    _against(
        "grpo-geometric",
        "GRPO, geometric lengths (mean 64, limit 256), 1 M",
        _GEOMETRIC,
        "trl_group",
        4.0,
    ),
    _against("ppo", "PPO, 4 epochs, 32 x 64 tokens, stories260k", _STORIES, "trl_ppo", 3.0),
    Row(
        key="dpo-15m",
        label="DPO, 8 pairs, prompt 256, answers 32, 15 M, V 32,000",
        own=_PAIRS,
        others=(("trl_dpo", _PAIRS),),
        target=1.5,
    ),
    Row(
        key="update-15m",
        label="update alone, 15 M, V 32,000",
        own=_LARGE_UPDATE,
        others=(("bare", _LARGE_UPDATE),),
        target=1 / 1.15,
    ),
    Row(
        key="update-1m",
        label="update alone, 1 M, V 512",
        own=_SMALL_UPDATE,
        others=(("bare", _SMALL_UPDATE),),
        target=1 / 1.15,
    ),
    Row(
        key="growth",
        label="a token of 1,024 against one of 128, 1 M",
        own=_LONG,
        others=(("own", _SHORT),),
        target=0.5,
    ),
)
