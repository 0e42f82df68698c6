"""A loop of array operations whose temporaries have the size given, in MB: 10 GB of each."""
import math
import sys

import numpy

megabytes = int(sys.argv[1])
a = numpy.ones(megabytes * 125000)
for _ in range(10000 // megabytes // 3):
    b = a * 2
    c = a + b
    d = numpy.sqrt(c)
assert d[0] == d[-1] == math.sqrt(3)
