"""Compare two series of measurements: a robust estimate of their difference, and how far chance alone can move it.

Two processes with the same code differ by one or two per cent for their whole life, because each has another layout of
memory. So pairs come in groups, one group for each pair of processes. The bootstrap draws whole groups first and then
pairs. Without groups, more pairs of the same two processes would narrow an interval that misses the true value.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, median, stdev

#: Draws of the bootstrap. The standard error of a standard error from 1,000 draws is about 2 per cent of it.
DRAWS = 1000

#: The probability that an interval, or a whole table of verdicts, is wrong: 1 in 20.
ERROR = 0.05

#: With a fixed seed, each analysis of the same figures gives the same result.
SEED = 12


@dataclass(frozen=True)
class Difference:
    """The ratio of two costs on a logarithmic scale, on which +x and -x are equally far from no difference."""

    log_ratio: float
    standard_error: float

    @property
    def ratio(self) -> float:
        """The best estimate: 1.05 if the first side costs 5 per cent more than the second."""
        return math.exp(self.log_ratio)

    def interval(self, error: float = ERROR) -> tuple[float, float]:
        """Return the ratios between which the true ratio is, except with the probability ``error``."""
        reach = NormalDist().inv_cdf(1 - error / 2) * self.standard_error
        return math.exp(self.log_ratio - reach), math.exp(self.log_ratio + reach)

    def verdict(self, questions: int) -> str:
        """Return "dearer", "cheaper" or "no difference seen".

        ``questions``: the number of verdicts in one table. Of 40 intervals of 95 %, two miss by chance alone. So each
        verdict gets its share of the error (Bonferroni), and a whole table is wrong in 1 of 20 runs.
        """
        low, high = self.interval(ERROR / questions)
        if low > 1:
            return "dearer"
        return "cheaper" if high < 1 else "no difference seen"


def compare(groups: Sequence[Sequence[tuple[float, float]]]) -> Difference:
    """Return how the first of each pair differs from the second: the median of all log ratios, and its bootstrap error.

    ``groups``: the pairs of costs of each pair of processes, in any unit. Raises ValueError with fewer than two pairs.
    """
    logs = [[math.log(one / other) for one, other in pairs] for pairs in groups if pairs]
    if sum(map(len, logs)) < 2:
        raise ValueError("An interval needs at least two pairs. Measure longer.")
    draw = random.Random(SEED)
    medians = [median(_resample(logs, draw)) for _ in range(DRAWS)]
    return Difference(median(one for group in logs for one in group), stdev(medians))


def _resample(logs: list[list[float]], draw: random.Random) -> list[float]:
    """Draw as many groups as there are, and from each as many pairs as it has, both with replacement."""
    return [one for group in draw.choices(logs, k=len(logs)) for one in draw.choices(group, k=len(group))]
