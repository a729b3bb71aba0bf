"""Families of automaton tasks whose horizon is free and whose difficulty does not follow from it.

A longer response would by itself make things easier (more tries) or harder (more to pay for). So
each family holds something fixed in T: the chance that the reference ends early, and what the
reference scores, or how much a token's share of the score weighs against its KL. With the horizon
named as the base below, all logits are the plain ones.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rlhf_env.checks import check_count
from rlhf_env.task import Task
from rlhf_env.tasks.automaton import automaton_task
from rlhf_env.tasks.calibration import Tables, calibrated, check_tokens, scaled_eos_logit

_SHORT = 8
_DELAY_BASE = 32


def chain_task(
    horizon: int,
    *,
    vocab_size: int = 8,
    symbols: int = 3,
    eos_logit: float | None = None,
    kl_coef: float | None = None,
    policy: str = "table",
) -> Task:
    """Return "chain-T": at every position one token is right, and the score is their share.

    Which one is right goes round: token 1, 2, … ``symbols`` and again 1, moving on with every right
    one, so it depends on the state. Every token is paid for as soon as it is known: the densest
    truth there is. A token's share of the score is 1 / T, so beta is 0.16 / T unless it is given.

    Args:
        horizon: T.
        vocab_size: V.
        symbols: tokens that take turns in being the right one, at most V − 1.
        eos_logit: the reference's for EOS, others having 0; by default −4 at T = 8, and at other
            horizons such that as many responses end early.
        kl_coef: beta.
        policy: see `automaton_task`.
    """
    check_tokens(horizon, vocab_size, symbols=symbols)
    right_ones = np.arange(horizon + 1)
    moves = np.repeat(right_ones[:, None], vocab_size, axis=1)
    moves[right_ones[:-1], right_ones[:-1] % symbols + 1] += 1
    logits = np.zeros(moves.shape)
    logits[:, 0] = scaled_eos_logit(eos_logit, horizon, _SHORT)
    return automaton_task(
        moves,
        logits,
        right_ones / horizon,
        horizon,
        kl_coef=0.02 * _SHORT / horizon if kl_coef is None else kl_coef,
        policy=policy,
        name=f"chain-{horizon}",
    )


def delay_task(
    horizon: int,
    *,
    vocab_size: int = 8,
    eos_logit: float | None = None,
    kl_coef: float = 0.05,
    policy: str = "table",
) -> Task:
    """Return "delay-T": the first token decides, and the rest is noise.

    The score is 1 if the first token is token 1, else 0, and is paid when the response ends.

    Args:
        horizon: T.
        vocab_size: V.
        eos_logit: the reference's for EOS, others having 0; by default −4 at T = 32, and at other
            horizons such that as many responses end early.
        kl_coef: beta.
        policy: see `automaton_task`.
    """
    check_tokens(horizon, vocab_size)
    undecided, right, wrong = range(3)
    moves = np.full((3, vocab_size), wrong)
    moves[undecided, 1] = right
    moves[right] = right
    logits = np.zeros(moves.shape)
    logits[:, 0] = scaled_eos_logit(eos_logit, horizon, _DELAY_BASE)
    return automaton_task(
        moves,
        logits,
        np.array([0.0, 1.0, 0.0]),
        horizon,
        kl_coef=kl_coef,
        policy=policy,
        name=f"delay-{horizon}",
    )


def needles_task(
    horizon: int,
    *,
    needles: int = 4,
    vocab_size: int = 8,
    eos_logit: float | None = None,
    needle_logit: float | None = None,
    kl_coef: float = 0.05,
    policy: str = "table",
) -> Task:
    """Return "needles-T": k tokens among distractors must come in order, and count one by one.

    Token m + 1 is the next needle once m are found; all others change nothing. The score is the
    share found. In a longer response the same tokens would be found more often by chance, so
    the reference's logit of the needles falls with T, such that it finds the same share.

    Args:
        horizon: T >= k.
        needles: k, at most V − 1.
        vocab_size: V.
        eos_logit: the reference's for EOS, distractors having 0; by default −4 at T = 8, and at
            other horizons such that as many responses end early.
        needle_logit: the reference's for the next needle; by default 0 at T = 8, and at other
            horizons such that the reference finds as much.
        kl_coef: beta.
        policy: see `automaton_task`.
    """
    check_tokens(horizon, vocab_size, needles=needles)

    def tables(eos: float, needle: float) -> Tables:
        found = np.arange(needles + 1)
        moves = np.repeat(found[:, None], vocab_size, axis=1)
        moves[found[:-1], found[:-1] + 1] += 1
        logits = np.zeros(moves.shape)
        logits[:, 0] = eos
        logits[found[:-1], found[:-1] + 1] = needle
        return moves, logits, found / needles

    made = calibrated(tables, horizon, max(_SHORT, needles), eos_logit, needle_logit)
    return automaton_task(*made, horizon, kl_coef=kl_coef, policy=policy, name=f"needles-{horizon}")


def lock_task(
    horizon: int,
    *,
    digits: int = 3,
    vocab_size: int = 8,
    eos_logit: float | None = None,
    digit_logit: float | None = None,
    kl_coef: float = 0.05,
    policy: str = "table",
) -> Task:
    """Return "lock-T": k tokens one after the other open it, and nothing else is paid.

    A wrong token closes it again: the next one counts as the first try. An open lock stays open.
    More tries would open it by chance, so the reference's logit of the right tokens falls
    with T, such that it opens as often.

    Args:
        horizon: T >= k.
        digits: k, at most V − 1: token 1, then 2, … then k.
        vocab_size: V.
        eos_logit: the reference's for EOS, other tokens having 0; by default −4 at T = 8, and at
            other horizons such that as many responses end early.
        digit_logit: the reference's for the next right token; by default 0 at T = 8, and at other
            horizons such that the reference opens the lock as often.
        kl_coef: beta.
        policy: see `automaton_task`.
    """
    check_tokens(horizon, vocab_size, digits=digits)

    def tables(eos: float, digit: float) -> Tables:
        turned = np.arange(digits + 1)
        moves = np.zeros((digits + 1, vocab_size), dtype=np.int64)
        moves[:, 1] = 1
        moves[turned[:-1], turned[:-1] + 1] = turned[1:]
        moves[digits] = digits
        logits = np.zeros(moves.shape)
        logits[:, 0] = eos
        logits[turned[:-1], turned[:-1] + 1] = digit
        return moves, logits, (turned == digits).astype(np.float64)

    made = calibrated(tables, horizon, max(_SHORT, digits), eos_logit, digit_logit)
    return automaton_task(*made, horizon, kl_coef=kl_coef, policy=policy, name=f"lock-{horizon}")


def brackets_task(
    horizon: int,
    *,
    depth: int = 3,
    vocab_size: int = 4,
    eos_logit: float | None = None,
    bracket_logit: float | None = None,
    kl_coef: float = 0.05,
    policy: str = "table",
) -> Task:
    """Return "brackets-T": all that is opened must be closed by the end.

    Token 1 opens, token 2 closes, other tokens are words. The score is 1 − open / depth, so 1 where
    the response is well-formed; it is 0 for good once a bracket closes that none opened, or
    more than ``depth`` are open. The score of a prefix is its depth, turned round: the potential.
    A longer response would hold more brackets, so the reference's logit of brackets falls with T,
    such that it scores the same.

    Args:
        horizon: T.
        depth: most brackets that may be open.
        vocab_size: V >= 4, of which V − 3 are words.
        eos_logit: the reference's for EOS, words having 0; by default −4 at T = 8, and at other
            horizons such that as many responses end early.
        bracket_logit: the reference's for both brackets; by default 1 at T = 8, and at other
            horizons such that the reference scores the same.
        kl_coef: beta.
        policy: see `automaton_task`.
    """
    check_tokens(horizon, vocab_size, depth=depth)
    check_count("vocab_size", vocab_size, 4)
    opening, closing, broken = 1, 2, depth + 1

    def tables(eos: float, bracket: float) -> Tables:
        states = np.arange(depth + 2)
        moves = np.repeat(states[:, None], vocab_size, axis=1)
        moves[:broken, opening] += 1
        moves[:broken, closing] -= 1
        moves[0, closing] = broken
        logits = np.zeros(moves.shape)
        logits[:, 0] = eos
        logits[:, [opening, closing]] = 1.0 + bracket
        score = 1.0 - states / depth
        score[broken] = 0.0
        return moves, logits, score

    given = None if bracket_logit is None else bracket_logit - 1.0
    made = calibrated(tables, horizon, _SHORT, eos_logit, given)
    return automaton_task(
        *made, horizon, kl_coef=kl_coef, policy=policy, name=f"brackets-{horizon}"
    )


FAMILIES: dict[str, Callable[..., Task]] = {
    "chain": chain_task,
    "delay": delay_task,
    "needles": needles_task,
    "lock": lock_task,
    "brackets": brackets_task,
}
