"""The intervals against data whose truth is known."""
import unittest

import numpy

from suite import stats

SETS = 400


def intervals(draw, blocks, seed):
    rng = numpy.random.default_rng(seed)
    for _ in range(SETS):
        yield stats.log_ratio(draw(rng, blocks))


def normal(rng, blocks):
    return numpy.log(1.3) + rng.normal(0, 0.05, blocks)


def heavy(rng, blocks):  # now and then a run is far off, as on a shared machine
    return numpy.log(1.3) + 0.03 * rng.standard_t(2, blocks)


def skewed(rng, blocks):  # runs are only ever slowed down; median 1.3
    return numpy.log(1.3) + 0.1 * (numpy.log(2) - rng.exponential(1, blocks))


class Coverage(unittest.TestCase):
    def test_intervals_cover_the_truth(self):
        for draw in (normal, heavy, skewed):
            for blocks in (6, 7, 10, 20, 30):
                with self.subTest(draw=draw.__name__, blocks=blocks):
                    covered = sum(found.low <= 1.3 <= found.high
                                  for found in intervals(draw, blocks, 11))
                    # Three standard errors of 400 draws below 95 %.
                    self.assertGreaterEqual(covered / SETS, 0.917)

    def test_equal_sides_show_no_difference(self):
        def equal(rng, blocks):
            return rng.normal(0, 0.05, blocks)
        for blocks in (6, 10, 20):
            same = sum(found.verdict == stats.NONE_SHOWN for found in intervals(equal, blocks, 5))
            self.assertGreaterEqual(same / SETS, 0.917, blocks)

    def test_a_clear_difference_is_seen(self):
        def faster(rng, blocks):
            return numpy.log(1.05) + rng.normal(0, 0.01, blocks)
        seen = sum(found.verdict == "above" for found in intervals(faster, 10, 3))
        self.assertGreaterEqual(seen / SETS, 0.99)

    def test_the_law_of_the_median_is_what_drawing_gives(self):
        for blocks in (6, 7, 12, 30):
            values = numpy.random.default_rng(blocks).normal(0, 1, blocks)
            rng = numpy.random.default_rng(1)
            drawn = stats.resampled_medians(values, rng, 100000)
            ordered = sorted(values)
            self.assertAlmostEqual(sum(chance for _, _, chance in stats.median_law(blocks)), 1, places=9)
            for cut in (0.01, 0.025, 0.2):
                low, high = stats.median_interval(values, cut)
                self.assertIn(True, [abs(low - (ordered[i] + ordered[j]) / 2) < 1e-9
                                     for i, j, _ in stats.median_law(blocks)])
                # Atoms: at the end's own value the drawn share passes the cut.
                self.assertLess(numpy.mean(drawn < low - 1e-9), cut + 0.002)
                self.assertGreater(numpy.mean(drawn <= low + 1e-9), cut - 0.002)
                self.assertLess(numpy.mean(drawn > high + 1e-9), cut + 0.002)
                self.assertGreater(numpy.mean(drawn >= high - 1e-9), cut - 0.002)

    def test_an_interval_of_the_inverse_is_the_inverse(self):
        logs = list(numpy.random.default_rng(9).normal(0.1, 0.1, 9))
        one, other = stats.log_ratio(logs), stats.log_ratio([-log for log in logs])
        self.assertAlmostEqual(one.low * other.high, 1)
        self.assertAlmostEqual(one.high * other.low, 1)

    def test_the_unwidened_interval_would_cover_too_little(self):
        """Why the tails are widened: the plain percentile interval fails the same demand."""
        rng = numpy.random.default_rng(2)
        covered = 0
        for _ in range(SETS):
            logs = normal(rng, 7)
            low, high = numpy.quantile(stats.resampled_medians(logs, rng), [0.025, 0.975])
            covered += low <= numpy.log(1.3) <= high
        self.assertLess(covered / SETS, 0.92)


class Ratios(unittest.TestCase):
    rng = numpy.random.default_rng(1)

    def test_median_is_of_the_pairs_not_of_the_sides(self):
        # Each block is twice as slow as the one before: the sides overlap, the pairs do not.
        pairs = [(1.1 * 2**-i, 2**-i) for i in range(8)]
        found = stats.ratio(pairs)
        self.assertAlmostEqual(found.median, 1.1)
        self.assertEqual(found.verdict, "above")
        self.assertAlmostEqual(found.low, 1.1)

    def test_too_few_blocks_give_no_interval(self):
        found = stats.ratio([(2, 1)] * (stats.FEWEST - 1))
        self.assertEqual((found.median, found.low, found.verdict), (2, None, "too few rounds"))
        self.assertEqual(stats.ratio([(2, 1)] * stats.FEWEST).verdict, "above")

    def test_what_is_printed_as_one_is_no_difference(self):
        """However sure it is: memory often is the same to the byte but for a page."""
        found = stats.ratio([(1.004, 1)] * 8)
        self.assertEqual((found.low > 1, found.verdict), (True, stats.NONE_SHOWN))
        self.assertEqual(stats.ratio([(1.006, 1)] * 8).verdict, "above")

    def test_no_pairs_give_no_ratio(self):
        self.assertIsNone(stats.ratio([]))

    def test_one_outlier_moves_nothing(self):
        pairs = [(1.2 + 0.001 * i, 1) for i in range(11)] + [(0.01, 1)]
        self.assertAlmostEqual(stats.ratio(pairs).median, 1.2045, places=3)

    def test_geometric_mean_of_cells(self):
        cells = [[numpy.log(2)] * 8, [numpy.log(8)] * 8]
        found = stats.geometric_mean(cells, self.rng)
        self.assertAlmostEqual(found.median, 4)
        self.assertAlmostEqual(found.low, 4)
        self.assertIsNone(stats.geometric_mean([[0.1] * 8, []], self.rng))

    def test_change_between_two_runs(self):
        rng = numpy.random.default_rng(4)
        before, after = rng.normal(0, 0.02, 12), rng.normal(numpy.log(0.8), 0.02, 12)
        found = stats.change(before, after, rng, 0.99)
        self.assertLess(found.high, 1)
        self.assertTrue(found.low < 0.8 < found.high)
        self.assertEqual(stats.change(before, before, rng, 0.99).verdict, stats.NONE_SHOWN)


if __name__ == "__main__":
    unittest.main()
