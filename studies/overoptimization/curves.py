"""Curves of proxy and gold over the distance from the reference, seed by seed, and their peaks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlhf_env.statistics import Estimate, Floats, Rows, bootstrap_rows, percentile_estimate
from studies.statistics.gao import BEST_OF_N, RL, Fit, Form, fit

# Methods have the names of their laws.
FORMS = (BEST_OF_N, RL)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One judge optimized by one method, K seeds by U steps."""

    judge: str
    """Its label."""
    method: str
    """Its name."""
    distance: Floats
    """[K, U] square root of the KL to the reference, in √nats."""
    proxy: Floats
    """[K, U] what is optimized, in units of the reference's own responses."""
    gold: Floats
    """[K, U] the truth, in such units."""
    accuracy: Floats
    """[K] share of pairs that the judge orders as gold does."""

    def drawn(self, rows: NDArray[np.intp]) -> Curve:
        """Return the curve of some seeds, by number; one may be drawn more than once."""
        return replace(
            self,
            distance=self.distance[rows],
            proxy=self.proxy[rows],
            gold=self.gold[rows],
            accuracy=self.accuracy[rows],
        )

    def fit(self, form: Form) -> Fit | None:
        """Return a law of Gao et al. fitted to the mean over seeds, step by step."""
        return fit(form, self.distance.mean(axis=0), self.gold.mean(axis=0))

    def fits(self, form: Form) -> list[Fit]:
        """Return the law fitted to each seed alone, where there is enough to fit."""
        alone = (self.drawn(np.array([seed])).fit(form) for seed in range(len(self.gold)))
        return [law for law in alone if law is not None]

    @property
    def law_peak(self) -> float:
        """Distance of the peak of the method's own law; NaN where it has none."""
        form = next(form for form in FORMS if form.name == self.method)
        law = self.fit(form)
        return math.nan if law is None or law.peak is None else law.peak[0]

    @property
    def top(self) -> int:
        """The step at which the mean gold score is highest."""
        return int(self.gold.mean(axis=0).argmax())

    @property
    def peak_distance(self) -> float:
        """Mean distance at the highest mean gold score."""
        return float(self.distance.mean(axis=0)[self.top])

    @property
    def peak_height(self) -> float:
        """The highest mean gold score."""
        return float(self.gold.mean(axis=0)[self.top])

    @property
    def last_gold(self) -> float:
        """Mean gold score at the end of the sweep."""
        return float(self.gold[:, -1].mean())

    @property
    def last_distance(self) -> float:
        """Mean distance at the end of the sweep."""
        return float(self.distance[:, -1].mean())


def curves(points: pd.DataFrame) -> list[Curve]:
    """Return the curves of a table with a row per judge, method, seed and step, in its order."""
    found = []
    named = points.groupby(["judge", "method"], sort=False)
    for judge, method in points[["judge", "method"]].drop_duplicates().itertuples(index=False):
        rows = named.get_group((judge, method))
        kl, proxy, gold = (
            rows.pivot(index="seed", columns="step", values=name).to_numpy(float)
            for name in ("kl", "proxy", "gold")
        )
        found.append(
            Curve(
                judge=str(judge),
                method=str(method),
                distance=np.sqrt(np.maximum(kl, 0.0)),
                proxy=proxy,
                gold=gold,
                accuracy=rows.groupby("seed")["accuracy"].first().to_numpy(float),
            )
        )
    return found


def over_seeds(statistic: Callable[..., float], *found: Curve) -> Estimate:
    """Return a statistic of curves with its 95 % percentile bootstrap interval over seeds.

    Args:
        statistic: of as many curves as are given; NaN where they do not give a number.
        *found: curves of the same seeds, which are drawn together.

    Returns:
        The estimate; without an interval for one seed, or where a resample gives no number.
    """
    count = len(found[0].gold)

    def of_seeds(drawn: Rows) -> Floats:
        # Few seeds can be drawn in few ways only.
        ways, which = np.unique(np.sort(drawn, axis=-1), axis=0, return_inverse=True)
        each = [statistic(*(curve.drawn(way) for curve in found)) for way in ways]
        return np.array(each)[which]

    value = statistic(*found)
    if count == 1:
        return Estimate(value=value, low=None, high=None, count=count)
    return percentile_estimate(value, bootstrap_rows(of_seeds, count), count)
