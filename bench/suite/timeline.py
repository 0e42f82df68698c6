"""Memory over time, as the measuring process wrote it down: [[seconds, RSS bytes]]."""

MOST = 200  # points of a timeline that a sample keeps
MOMENTS = (0.1, 1, 5, 10, 60)  # seconds after the last call at which RSS is read
REST = 10.0  # seconds that servers and replays stay without a call, unless --rest says otherwise


def moments(rest):
    return [moment for moment in MOMENTS if moment <= rest]


def part(points, first, last):
    """The points between two moments, counted from the first of them."""
    return [[at - first, rss] for at, rss in points if first <= at <= last]


def integral(points, base=0):
    """Byte seconds above a base; between two points RSS is taken to have changed evenly."""
    above = [(at, max(0, rss - base)) for at, rss in points]
    return sum((there - here) * (low + high) / 2 for (here, low), (there, high) in zip(above, above[1:]))


def kept(points, live=0):
    """[[seconds, live bytes, RSS bytes]]"""
    return thinned([[round(at, 3), live, rss] for at, rss in points])


def thinned(rows):
    """MOST at most, the last among them."""
    step = -(-len(rows) // MOST) or 1
    return rows[::step] + (rows[-1:] if (len(rows) - 1) % step else [])
