"""The suite: runs cells under allocators, takes ratios within blocks, reports.

Words used in every module:
  cell     one benchmark of the binary, or one program: larson/fixed/threads:2
  column   one allocator as loaded: a library for LD_PRELOAD plus its environment
  sample   what one fresh process gave for one cell under one column
  block    one cell under every column, once each, in random order
  round    one block of every cell
  folder   where a run keeps its samples and its reports
"""

import pathlib

ROOT = str(pathlib.Path(__file__).resolve().parents[2])  # the checkout
FORMAT = 1  # of the results folder; a reader refuses any other
REFERENCE = "glibc"
HARNESS = "harness"  # the no-allocator baseline, a column that is never compared


class Problem(Exception):
    """Something the user can mend: one line, told without a traceback."""


def reason(error):
    """Why the system refused, without the number and the path that Python adds."""
    return getattr(error, "strerror", None) or str(error)
