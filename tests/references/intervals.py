#!/usr/bin/env python3
"""Records intervals and p-values of SciPy and statsmodels: intervals.json.

    pip install scipy statsmodels
    python tests/references/intervals.py > tests/references/intervals.json

    wilson     [n_right, n, low, high]       scipy.stats.binomtest(...).proportion_ci(method="wilson"), 95 %
    mcnemar    [only_first, only_second, p]  statsmodels' mcnemar(exact=True), equal to scipy.stats.binomtest
    bootstrap  the pairs of each entity ("12" both right, "1-" only the first, "-2" only the second, "--" neither),
               scipy.stats.bootstrap's percentile interval of the difference of shares over 100,000 resamples of whole
               entities, and the standard deviation of the resampled differences
"""
import json
import random

import numpy
from scipy.stats import binomtest, bootstrap
from statsmodels.stats.contingency_tables import mcnemar

WILSON = [(r, n) for n in (1, 2, 5, 10, 38, 67, 100) for r in sorted({0, 1, n // 3, n // 2, n - 1, n})]
WILSON += [(301, 362), (543, 543), (17, 20_000), (999_999, 1_000_000)]
MCNEMAR = [(b, c) for b in range(0, 13, 3) for c in range(0, 25, 4)]
MCNEMAR += [(1, 0), (6, 0), (0, 5), (20, 40), (61, 37), (150, 151), (200, 260), (1_000, 1_100), (3_000, 2_700), (0, 1_000)]


def p_of(b, c):
    p = mcnemar([[0, b], [c, 0]], exact=True).pvalue if b + c else 1.0
    other = binomtest(b, b + c, 0.5).pvalue if b + c else 1.0
    assert abs(p - other) <= 1e-9 * other, (b, c, p, other)
    return float(other)


def entities(rng, n, shares, together):
    """`n` entities of 1 to 9 questions; each leans to both being right or not, by `together`."""
    made = []
    for _ in range(n):
        lean = rng.uniform(-together, together)
        pairs = [[rng.random() < share + lean for share in shares] for _ in range(rng.randint(1, 9))]
        made.append([("1" if a else "-") + ("2" if b else "-") for a, b in pairs])
    return made


def interval(made):
    gains = numpy.array([sum(("1" in pair) - ("2" in pair) for pair in pairs) for pairs in made])
    sizes = numpy.array([len(pairs) for pairs in made])

    def difference(drawn, axis):
        drawn = drawn.astype(int)
        return gains[drawn].sum(axis=axis) / sizes[drawn].sum(axis=axis)

    found = bootstrap((numpy.arange(len(made)),), difference, n_resamples=100_000, batch=10_000, vectorized=True,
                      method="percentile", rng=numpy.random.default_rng(5))
    ends = found.confidence_interval
    return {"low": float(ends.low), "high": float(ends.high), "deviation": float(found.standard_error)}


def main():
    rng = random.Random(3)
    samples = [entities(rng, 20, (0.8, 0.7), 0.2), entities(rng, 60, (0.91, 0.84), 0.05), entities(rng, 60, (0.3, 0.3), 0.3),
               entities(rng, 8, (0.2, 0.9), 0.1), entities(rng, 150, (0.55, 0.6), 0.4)]
    record = {
        "wilson": [[r, n, *map(float, binomtest(r, n).proportion_ci(method="wilson"))] for r, n in WILSON],
        "mcnemar": [[b, c, p_of(b, c)] for b, c in MCNEMAR],
        "bootstrap": [{"entities": made, **interval(made)} for made in samples],
    }
    lists = (f"{json.dumps(name)}: [\n" + ",\n".join(map(json.dumps, entries)) + "\n]" for name, entries in record.items())
    print("{" + ",\n".join(lists) + "}")


if __name__ == "__main__":
    main()
