"""What the command line's forms share: values read from words, or one line of complaint."""
import argparse
import os
import pathlib
import re
import shutil
import sys

from . import ROOT, Problem, units

RESULTS = pathlib.Path(os.environ.get("MYMALLOC_RESULTS", ROOT + "/results"))
BUILD = ROOT + "/build/release"
BUILDS_BUDGET = 10 * 60  # seconds of compare-builds


def not_empty(text):
    if not text:
        raise argparse.ArgumentTypeError("its value is empty")
    return text


def path(text):
    """A type of arguments."""
    return pathlib.Path(not_empty(text))


class Parser(argparse.ArgumentParser):
    """argparse, its complaints in one line like every other. An empty word is none that anybody meant."""

    def __init__(self, *words, **named):
        super().__init__(*words, **named)
        self.register("type", None, not_empty)

    def error(self, message):
        raise Problem(f"{message}; see --help")


def split(argv):
    """The suite's own arguments, and the command after --."""
    if "--" not in argv:
        return argv, []
    at = argv.index("--")
    return argv[:at], argv[at + 1:]


def readable(argv):
    """What is not UTF-8 could be written neither to a report nor to run.json."""
    for word in [*argv, str(RESULTS), ROOT]:
        try:
            word.encode()
        except UnicodeEncodeError:
            shown = word.encode(errors="surrogateescape").decode(errors="backslashreplace")
            raise Problem(f"'{shown}' is not valid UTF-8: use a path that is, a link will do") from None


def words(option, text, example):
    """'a,b' -> ['a', 'b']; None stays None."""
    found = [word.strip() for word in text.split(",") if word.strip()] if text is not None else None
    if found == []:
        raise Problem(f"{option} '{text}': names nothing; a list such as {example}")
    return found


def seconds(option, text):
    try:
        return units.duration(text)
    except ValueError:
        raise Problem(f"{option} '{text}': a time such as 90s, 20m or 2h") from None


def size(option, text):
    """'64M' -> bytes"""
    found = re.fullmatch(r"([0-9]{1,15})([KMG])", text, re.I)
    value = int(found[1]) * {"K": 2**10, "M": 2**20, "G": 2**30}[found[2].upper()] if found else 0
    if not 2**20 <= value <= 2**50:
        raise Problem(f"{option} '{text}': a size such as 64M or 2G, 1M at least")
    return value


def within(option, value, low, high, shown):
    if value is not None and not low <= value <= high:
        raise Problem(f"{option} {value:g}: {shown}")


def check_numbers(options):
    """The numbers that measuring forms have in common."""
    within("--rounds", options.rounds, 1, 1000, "from 1 to 1000")
    within("--seed", options.seed, 0, 2**64 - 1, "from 0 to 2^64 - 1")
    if options.scale is not None and not 0 < options.scale <= 1000:
        raise Problem(f"--scale {options.scale:g}: above 0, at most 1000")
    for option in ("budget", "timeout"):
        text = getattr(options, option)
        if text is not None:
            seconds("--" + option, text)


def writable(path, what="results folder"):
    """Told before anything is built: the folder, or the nearest one above it, takes files."""
    path = pathlib.Path(path).absolute()
    # A link that leads nowhere, or to itself, does not exist and yet is there.
    above = next(p for p in (path, *path.parents) if p.is_symlink() or p.exists())
    if not above.is_dir():
        raise Problem(f"cannot make the {what} {path}: {above} is not a folder")
    if not os.access(above, os.W_OK | os.X_OK, effective_ids=True):  # as open() asks
        raise Problem(f"cannot make the {what} {path}: {above} is not writable")


def terminal_width():
    """Of tables on standard output; a file or pipe takes 100 columns."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 100
