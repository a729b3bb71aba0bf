"""How a reward model is fitted, and by which losses. Nothing is loaded or computed here."""

from __future__ import annotations

from dataclasses import dataclass

from rlhf_env.checks import check_choice, check_count, check_number, check_positive

RANKING_LOSSES = ("pairs", "plackett_luce")
RATING_LOSSES = ("squared", "ordinal")


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """What the scores are asked to explain; a setting matters to its kind of data only."""

    centering_coef: float = 0.0
    """Pairs: weight of the pull of both scores towards zero (arXiv:2312.09244)."""
    tie_strength: float | None = None
    """Pairs: Davidson's ν > 0, which makes a tie an outcome; None: half a win for each side."""
    rankings: str = "pairs"
    """Rankings: "pairs", the mean over all pairs of a prompt, or "plackett_luce"."""
    ratings: str = "squared"
    """Ratings: "squared" difference, or "ordinal", for which only their order counts."""

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        check_number("centering_coef", self.centering_coef, minimum=0.0)
        if self.tie_strength is not None:
            check_positive("tie_strength", self.tie_strength)
        check_choice("rankings", self.rankings, RANKING_LOSSES)
        check_choice("ratings", self.ratings, RATING_LOSSES)
        if self.rankings != "pairs" and (self.tie_strength is not None or self.centering_coef):
            raise ValueError(
                "tie_strength and centering_coef are of pairs and cannot be combined with "
                f"rankings={self.rankings!r}; leave them out"
            )


@dataclass(frozen=True, kw_only=True)
class RewardSettings:
    """How a reward model is fitted: AdamW, linear warm-up and decay, early stopping."""

    epochs: int = 3
    """Passes over the data, unless the held-out loss stops them earlier."""
    batch_size: int = 32
    """Rows of the data per step; all responses of a row stay together."""
    learning_rate: float = 3e-4
    """Peak step size."""
    weight_decay: float = 0.01
    """AdamW's decoupled weight decay."""
    warmup_share: float = 0.1
    """Share of the steps in which the step size rises from 0; then it falls to 0 again."""
    max_grad_norm: float = 1.0
    """Longer gradients are cut to this length."""
    evaluations_per_epoch: int = 4
    """How often the held-out loss is taken; the weights of the least one are kept."""
    patience: int = 4
    """Evaluations without a new least held-out loss after which training stops."""
    members: int = 1
    """Models to train, each with its own initial weights and data order; several: an ensemble."""
    max_tokens: int | None = None
    """Rows with a longer prompt and response are left out; the model's window when None."""
    seed: int = 0
    """Determines initial weights and order, on one machine with one number of threads."""
    device: str = "auto"
    """Where to train: "auto" takes a GPU if there is one."""

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        for name in ("epochs", "batch_size", "evaluations_per_epoch", "patience", "members"):
            check_count(name, getattr(self, name))
        check_count("seed", self.seed, minimum=0)
        if self.max_tokens is not None:
            check_count("max_tokens", self.max_tokens, minimum=2)
        check_positive("learning_rate", self.learning_rate)
        check_positive("max_grad_norm", self.max_grad_norm)
        check_number("weight_decay", self.weight_decay, minimum=0.0)
        check_number("warmup_share", self.warmup_share, minimum=0.0, maximum=1.0)


@dataclass(frozen=True, kw_only=True)
class FreshModel:
    """The shape of a decoder without pretraining."""

    vocab_size: int = 4000
    """Most tokens; byte pairs are merged until there are as many."""
    hidden_size: int = 64
    """Width; a multiple of 8, so that four heads can turn pairs of numbers."""
    layers: int = 2
    """Number of layers."""
    window: int = 2048
    """Most tokens of a prompt with its response."""
    initial_spread: float = 0.05
    """Standard deviation of the initial weights."""

    def __post_init__(self) -> None:
        """Refuse a shape that cannot be."""
        for name in ("hidden_size", "layers", "window"):
            check_count(name, getattr(self, name))
        check_count("vocab_size", self.vocab_size, minimum=300)
        check_positive("initial_spread", self.initial_spread)
        if self.hidden_size % 8:
            raise ValueError(f"hidden_size must be a multiple of 8, got {self.hidden_size}")
