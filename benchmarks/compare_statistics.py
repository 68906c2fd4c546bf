"""How two series of measurements differ: one robust estimate, and how far chance alone can move it.

Two processes that run the same code differ by a per cent or two for as long as they live, because memory is laid out
differently in each. So pairs come in groups, one group for each pair of processes, and the bootstrap draws whole groups
before it draws pairs. More pairs from the same two processes would narrow an interval that misses the truth.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, median, stdev

#: Draws of the bootstrap. The standard error of a standard error from 1,000 draws is about 2 per cent of it.
DRAWS = 1000

#: Chance that an interval, or a whole table of verdicts, is wrong: 1 in 20.
ERROR = 0.05

#: The bootstrap's draws are the same in each analysis of the same figures.
SEED = 12


@dataclass(frozen=True)
class Difference:
    """The ratio of two costs on a logarithmic scale, where +x and -x are the same distance from no difference."""

    log_ratio: float
    standard_error: float

    @property
    def ratio(self) -> float:
        """The best estimate: 1.05 if the first side costs 5 per cent more than the second."""
        return math.exp(self.log_ratio)

    def interval(self, error: float = ERROR) -> tuple[float, float]:
        """Return the ratios between which the true one is, except with the probability ``error``."""
        reach = NormalDist().inv_cdf(1 - error / 2) * self.standard_error
        return math.exp(self.log_ratio - reach), math.exp(self.log_ratio + reach)

    def verdict(self, questions: int) -> str:
        """Return "dearer", "cheaper" or "no difference seen".

        ``questions``: how many verdicts are given together. With 40 of them, two intervals of 95 % miss by chance
        alone, so each verdict gets its share of the error (Bonferroni), and the whole table errs once in 20 runs.
        """
        low, high = self.interval(ERROR / questions)
        if low > 1:
            return "dearer"
        return "cheaper" if high < 1 else "no difference seen"


def compare(groups: Sequence[Sequence[tuple[float, float]]]) -> Difference:
    """Return how the first of each pair differs from the second: the median of all log ratios, and its bootstrap error.

    ``groups``: for each pair of processes its pairs of costs, in any unit. Raises ValueError without two pairs.
    """
    logs = [[math.log(one / other) for one, other in pairs] for pairs in groups if pairs]
    if sum(map(len, logs)) < 2:
        raise ValueError("Two pairs at least are needed for an interval. Measure longer.")
    draw = random.Random(SEED)
    medians = [median(_drawn(logs, draw)) for _ in range(DRAWS)]
    return Difference(median(one for group in logs for one in group), stdev(medians))


def _drawn(logs: list[list[float]], draw: random.Random) -> list[float]:
    """Draw as many groups as there are, and from each as many pairs as it has, both with replacement."""
    return [one for group in draw.choices(logs, k=len(logs)) for one in draw.choices(group, k=len(group))]
