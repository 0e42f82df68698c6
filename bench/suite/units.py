"""Figures as people read them."""


def scaled(value, steps, base):
    for step in steps[:-1]:
        if abs(value) < base:
            return value, step
        value /= base
    return value, steps[-1]


def three_digits(value):
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def count(value):
    """12345 -> 12.3 k"""
    if value is None:
        return "–"
    value, step = scaled(float(value), ("", " k", " M", " G"), 1000.0)
    if step == "" and value == int(value):
        return str(int(value))
    return three_digits(value) + step


def size(value):
    if value is None:
        return "–"
    if abs(value) < 1024:
        return f"{value:.0f} B"
    value, step = scaled(float(value) / 1024, ("KiB", "MiB", "GiB"), 1024.0)
    return f"{three_digits(value)} {step}"


def held(value):
    """Memory times time."""
    return "–" if value is None else f"{three_digits(value)} MiB·s"


def rate(value):
    return "–" if value is None else count(value) + "/s"


def seconds(value):
    if value is None:
        return "–"
    if value < 1e-6:
        return f"{three_digits(value * 1e9)} ns"
    if value < 1e-3:
        return f"{three_digits(value * 1e6)} µs"
    if value < 1:
        return f"{three_digits(value * 1e3)} ms"
    if value < 100:
        return f"{three_digits(value)} s"
    return clock(value)


def clock(value):
    """75 -> 1:15"""
    value = int(value)
    if value < 3600:
        return f"{value // 60}:{value % 60:02d}"
    return f"{value // 3600}:{value // 60 % 60:02d}:{value % 60:02d}"


def times(value):
    """A ratio: enough digits that 1 % shows."""
    if value is None:
        return "–"
    return f"{value:.2f}×" if value < 100 else f"{value:.0f}×"


def interval(ratio):
    if ratio is None or ratio.low is None:
        return "–"
    return f"{ratio.low:.2f}–{ratio.high:.2f}"


def plural(number, word):
    return f"{number} {word}" + "s" * (number != 1)


def duration(text):
    """'90', '90s', '15m', '2h' -> seconds; ValueError otherwise."""
    factor = {"s": 1, "m": 60, "h": 3600}.get(text[-1:], None)
    value = float(text[:-1]) * factor if factor else float(text)
    if not 0 < value < 1e7:
        raise ValueError(text)
    return value
