"""What the user sees while cells run: one line that changes, or one per block in a log."""
import shutil
import sys
import time

from . import units


class Progress:
    def __init__(self, blocks, stream=sys.stderr):
        self.stream = stream
        self.live = stream.isatty()
        self.blocks = blocks  # of all rounds that are certain; adaptive ones come on top
        self.done = 0
        self.began = time.monotonic()

    def expect(self, blocks):
        self.blocks = blocks

    def left(self):
        if not self.done:
            return "?"
        elapsed = time.monotonic() - self.began
        return units.clock(elapsed / self.done * max(0, self.blocks - self.done))

    def running(self, round_number, cell, column, budget_left):
        if not self.live:
            return
        left = f"about {self.left()} left"
        if budget_left is not None:
            left += f", budget {units.clock(max(0, budget_left))}"
        text = (f"[{self.done + 1}/{max(self.blocks, self.done + 1)}] round {round_number + 1}  "
                f"{cell}  {column}  · {left}")
        width = shutil.get_terminal_size().columns
        self.stream.write("\r" + text[:width - 1].ljust(width - 1))
        self.stream.flush()

    def block(self, round_number, cell, speeds):
        """A finished block; speeds: {column: text}."""
        self.done += 1
        if self.live:
            return
        elapsed = units.clock(time.monotonic() - self.began)
        shown = "  ".join(f"{name} {speed}" for name, speed in speeds.items())
        self.say(f"{elapsed:>7} [{self.done}/{max(self.blocks, self.done)}] "
                 f"round {round_number + 1}  {cell}: {shown}")

    def say(self, text):
        if self.live:
            self.stream.write("\r" + " " * (shutil.get_terminal_size().columns - 1) + "\r")
        self.stream.write(text + "\n")
        self.stream.flush()

    def clear(self):
        if self.live:
            self.stream.write("\r" + " " * (shutil.get_terminal_size().columns - 1) + "\r")
            self.stream.flush()
