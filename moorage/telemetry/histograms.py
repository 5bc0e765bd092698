"""Observations by bucket: added up, written down, and asked for a percentile. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from functools import lru_cache
from itertools import accumulate

from moorage.api.metrics import Distribution

_REST = "+Inf"


@lru_cache(maxsize=1000)
def _position(bounds: tuple[float, ...], bound: str) -> int:
    """The bucket that an upper bound lies in."""
    return bisect_left(bounds, float(bound))


class Histogram:
    """`counts[i]` observations of at most `bounds[i]`, above the bound before; the last is the rest.

    `total` is the sum of the observations.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    @property
    def count(self) -> int:
        return sum(self.counts)

    def fits(self, one: Distribution) -> bool:
        """Whether the distribution has these buckets."""
        return len(one.counts) == len(self.counts)

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def add(self, one: Distribution | Histogram) -> None:
        """Take in the observations of another one with the same buckets."""
        if one.total or any(one.counts):
            self.counts = [mine + its for mine, its in zip(self.counts, one.counts, strict=True)]
            self.total += one.total

    def copy(self) -> Histogram:
        same = Histogram(self.bounds)
        same.counts, same.total = list(self.counts), self.total
        return same

    def stored(self) -> dict[str, int]:
        """Counts by upper bound, without empty buckets: it can be read when the buckets have changed."""
        bounds = (*(f"{bound:g}" for bound in self.bounds), _REST)
        return {bound: count for bound, count in zip(bounds, self.counts, strict=True) if count}

    def add_stored(self, counts: Mapping[str, int], total: float) -> None:
        """Take in what `stored` made; a bound that is none of these counts to the bucket it lies in."""
        for bound, count in counts.items():
            self.counts[_position(self.bounds, bound)] += count
        self.total += total

    def percentile(self, share: float) -> float | None:
        """The value that `share` (0 to 1) of the observations do not exceed, None without observations.

        Linear within a bucket, as Prometheus' `histogram_quantile`; in the rest it is the highest bound.
        """
        rank = share * self.count
        if not rank:
            return None
        below, low = 0, 0.0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            if count and below + count >= rank:
                return low + (bound - low) * (rank - below) / count
            below, low = below + count, bound
        return low

    def cumulative(self) -> list[int]:
        """How many observations do not exceed each bound, as Prometheus has them; the last is all of them."""
        return list(accumulate(self.counts))
