"""Medians of paired ratios with bootstrap intervals.

A ratio is taken within a block, where drift hits both sides alike, and handled as its
logarithm, so that 2x and 0.5x are equally far from 1. The interval of the median is the
percentile bootstrap with the tails widened for small samples (T. Hesterberg, "What
Teachers Should Know About the Bootstrap", 2015, "expanded percentile interval"): the
plain one covers too little below some 30 samples. bench/test/test_stats.py measures the
coverage.

Of one median the bootstrap needs no random numbers: the chance of each value is known
(B. Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979, section 3). report.js does the
same, so that the page gives the same intervals for whichever reference is chosen there.
"""
import functools
import math
from dataclasses import dataclass

import numpy
from scipy.special import ndtr, stdtrit

LEVEL = 0.95
RESAMPLES = 4000
# Of n samples, [least, greatest] holds the median with probability 1 - 2^(1-n): below 6
# no interval can promise 95 %, so none is given.
FEWEST = 6
NONE_SHOWN, TOO_FEW = "no difference shown", "too few rounds"


@dataclass(frozen=True)
class Ratio:
    """A median ratio and its interval; low and high are None below FEWEST blocks."""

    median: float
    low: float | None
    high: float | None
    blocks: int

    @property
    def verdict(self):
        if self.low is None:
            return TOO_FEW
        # What is printed as 1.00 is no difference to a reader, however sure it is.
        if self.low <= 1 <= self.high or round(self.median, 2) == 1:
            return NONE_SHOWN
        return "above" if self.low > 1 else "below"

    @property
    def half_width(self):
        """Half the interval's width, relative to the median; infinite without one."""
        if self.low is None:
            return float("inf")
        return (self.high - self.low) / (2 * self.median)


def tail(blocks, level=LEVEL):
    """The share to cut at each end of the bootstrap distribution."""
    quantile = stdtrit(blocks - 1, (1 + level) / 2)  # Student's t
    return ndtr(-numpy.sqrt(blocks / (blocks - 1)) * quantile)


def resampled_medians(values, rng, resamples=RESAMPLES):
    picks = rng.integers(len(values), size=(resamples, len(values)))
    return numpy.median(numpy.asarray(values)[picks], axis=1)


@functools.lru_cache
def median_law(n):
    """[(i, j, chance)]: the median of n draws out of n sorted values is the mean of values i and j.

    i and j are the two in the middle, one and the same for odd n. At most i: at least as many
    draws as the middle one's place are among the first i + 1.
    """
    def at_most(place, i):
        return sum(math.comb(n, k) * i**k * (n - i)**(n - k) for k in range(place, n + 1)) / n**n
    middle = (n + 1) // 2
    if n % 2:
        return [(i, i, at_most(middle, i + 1) - at_most(middle, i)) for i in range(n)]
    law = []
    for i in range(n):
        # Half of the draws up to i, one of them i itself; the other half from j on.
        apart = [(i, j, math.comb(n, middle) * ((i + 1)**middle - i**middle)
                  * ((n - j)**middle - (n - j - 1)**middle) / n**n) for j in range(i + 1, n)]
        here = at_most(middle, i + 1) - at_most(middle, i) - sum(chance for _, _, chance in apart)
        law += [(i, i, here), *apart]
    return law


def median_interval(values, cut):
    """What the bootstrap's medians leave when a share of them is cut at each end."""
    values = sorted(values)
    medians = sorted(((values[i] + values[j]) / 2, chance) for i, j, chance in median_law(len(values)))

    def end(ordered):
        seen = 0
        for median, chance in ordered:
            seen += chance
            if seen >= cut:
                return median
        return median
    return end(medians), end(reversed(medians))


def ratio(pairs, level=LEVEL):
    """Ratio of (numerator, denominator) pairs, one pair a block; None without pairs."""
    if not len(pairs):
        return None
    pairs = numpy.asarray(pairs, dtype=float)
    return log_ratio(numpy.log(pairs[:, 0] / pairs[:, 1]), level)


def log_ratio(logs, level=LEVEL):
    """The same from log ratios."""
    median = float(numpy.exp(numpy.median(logs)))
    if len(logs) < FEWEST:
        return Ratio(median, None, None, len(logs))
    if min(logs) == max(logs):  # memory often is the same to the byte
        return Ratio(median, median, median, len(logs))
    low, high = median_interval([float(log) for log in logs], tail(len(logs), level))
    return Ratio(median, math.exp(low), math.exp(high), len(logs))


def geometric_mean(cells, rng, level=LEVEL):
    """Geometric mean over cells of their median ratios; cells: lists of log ratios.

    Blocks are drawn again within each cell, all cells at once: the interval says what
    another run of the same cells would give, not what other cells would.
    """
    if not cells or not all(len(logs) for logs in cells):
        return None
    fewest = min(len(logs) for logs in cells)
    centre = numpy.mean([numpy.median(logs) for logs in cells])
    if fewest < FEWEST:
        return Ratio(float(numpy.exp(centre)), None, None, fewest)
    means = numpy.mean([resampled_medians(logs, rng) for logs in cells], axis=0)
    cut = tail(fewest, level)
    low, high = numpy.quantile(means, [cut, 1 - cut])
    return Ratio(float(numpy.exp(centre)), float(numpy.exp(low)), float(numpy.exp(high)), fewest)


def change(before, after, rng, level=LEVEL):
    """exp(median(after) - median(before)) of two independent sets of logarithms."""
    centre = float(numpy.exp(numpy.median(after) - numpy.median(before)))
    fewest = min(len(before), len(after))
    if fewest < FEWEST:
        return Ratio(centre, None, None, fewest)
    moves = resampled_medians(after, rng) - resampled_medians(before, rng)
    cut = tail(fewest, level)
    low, high = numpy.quantile(moves, [cut, 1 - cut])
    return Ratio(centre, float(numpy.exp(low)), float(numpy.exp(high)), fewest)
