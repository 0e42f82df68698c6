"""Free memory is there before each process: how much, and no more than there is room for."""
import resource
import unittest
import unittest.mock

from suite import allocators, prefault, runner
from suite.cells import Cell


class Prefault(unittest.TestCase):
    def touched(self, peak, room):
        """(bytes said, page faults) of a machine with room for so much."""
        with unittest.mock.patch.object(prefault, "room", lambda: room):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            return prefault.prefault(peak), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    def test_more_than_the_peak_is_touched(self):
        said, faults = self.touched(32 * 2**20, 2**30)
        self.assertEqual(said, 40 * 2**20)
        self.assertGreaterEqual(faults, 20)  # each page of 2 MiB, at the least

    def test_never_more_than_there_is_room_for(self):
        self.assertEqual(self.touched(2**40, 8 * 2**20)[0], 8 * 2**20)

    def test_of_a_cell_that_nothing_is_known_of_nothing_is(self):
        self.assertEqual(self.touched(0, 2**30)[0], 0)

    def test_room_is_half_of_what_machine_and_container_have(self):
        for free, limit, half in ((8, None, 4), (8, 2, 1), (None, 2, 1), (None, None, 0)):
            with unittest.mock.patch.object(prefault.doctor, "megabytes", lambda *_, free=free: free), \
                    unittest.mock.patch.object(prefault.environment, "cgroup_limits", lambda limit=limit: (None, limit)):
                self.assertEqual(prefault.room(), half)


class BeforeEachProcess(unittest.TestCase):
    def test_the_most_that_the_cell_was_seen_to_take(self):
        """One process a column and round, each after the largest peak of those before it."""
        made, peaks = [], iter([5, 9, 7, 3])

        def sample(_, __, column):
            return {"suite": {}, "benchmarks": [{"ops_per_second": 1.0, "peak_rss_bytes": next(peaks)}], "context": {}}
        plan = unittest.mock.Mock(columns=[allocators.Column("glibc"), allocators.Column("a")], cells=[Cell("good/one")],
                                  baseline=False, seed=1, rounds=2, budget=None)
        with unittest.mock.patch.object(runner.Runner, "benchmark", sample), \
                unittest.mock.patch.object(runner.allocators, "changed", lambda *_: False), \
                unittest.mock.patch.object(prefault, "prefault", made.append):
            runner.Runner(plan, unittest.mock.Mock()).run()
        self.assertEqual(made, [0, 5, 9, 9])


if __name__ == "__main__":
    unittest.main()
