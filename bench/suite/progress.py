"""What the user sees while cells run: one line that changes, or lines in a log.

Lines fit the terminal, 80 columns in a log. One clock: what is left, the budget being
the most. Nothing here wakes up by itself: a thread that redraws would run beside what is
being measured.
"""
import shutil
import sys
import textwrap
import time

from . import ending, units

NARROWEST = 20  # columns: no line is made for less


class Progress:
    def __init__(self, stream=None):
        self.stream = stream or sys.stderr  # not as a default: it may be closed while this is loaded
        self.live = self.stream.isatty()
        self.width = max(NARROWEST, shutil.get_terminal_size().columns if self.live else 80) - 1
        self.blocks = self.done = 0

    def begin(self, blocks, deadline):
        """blocks: of all rounds that are certain; adaptive ones come on top."""
        self.blocks, self.deadline, self.began = blocks, deadline, time.monotonic()

    def skip(self):
        """A block that was finished before this run was resumed."""
        self.blocks = max(self.done + 1, self.blocks - 1)

    def left(self):
        now = time.monotonic()
        most = max(0, self.deadline - now) if self.deadline else None
        if not self.done:
            return f"at most {units.clock(most)} left" if most is not None else "first block"
        guess = (now - self.began) / self.done * max(0, self.blocks - self.done)
        return units.clock(guess if most is None else min(guess, most)) + " left"

    def head(self, number, cell):
        return f"{self.done + 1}/{max(self.blocks, self.done + 1)} round {number + 1} {cell}"

    def running(self, number, cell, column):
        if self.live:
            text = f"{self.left()}  {self.head(number, cell)}  {column}"
            self.write("\r" + text[:self.width].ljust(self.width))

    def block(self, number, cell, speeds, base):
        """A finished block: the reference's speed, and the others' relative to it."""
        own = speeds.get(base)
        figures = [f"{name} {units.times(speed / own) if own and name != base else units.rate(speed)}"
                   for name, speed in sorted(speeds.items(), key=lambda pair: pair[0] != base)]
        head = self.head(number, cell)
        self.done += 1
        head = f"{self.left()}  {head}:"
        whole = "  ".join([head, *figures])
        if len(whole) <= self.width:
            self.say(whole)
        else:
            self.say(head[:self.width])
            # A name and its figure stay in one line.
            joined = "  ".join(figure.replace(" ", "\0") for figure in figures)
            self.say("\n".join(textwrap.wrap(joined, self.width, initial_indent="    ", subsequent_indent="    ",
                                             break_on_hyphens=False)).replace("\0", " "))

    def say(self, text):
        self.clear()
        self.write(text + "\n")

    def clear(self):
        if self.live:
            self.write("\r" + " " * self.width + "\r")

    def write(self, text):
        """A terminal that was closed, or a log's full disk, is no reason to end a run."""
        try:
            self.stream.write(text)
            self.stream.flush()
        except BrokenPipeError:
            raise
        except OSError:
            ending.silence(self.stream)
