"""The results folder: samples as they come, kept through crashes and full disks.

  run.json            format, options, columns, cells, whether it was finished
  environment.json    the machine and the software
  raw/CELL.jsonl      one line a process: Google Benchmark's JSON, whole, and under
                      "suite" what the runner saw: round, column, order, failure
  samples.jsonl.xz    the same lines in one file, instead of raw/: a run as git keeps it
  results.json …      the reports; made again from the above at any time

A line that was cut short by a kill is ignored and its block run again. A run holds a
lock on its folder, which the kernel takes back however the run ends.
"""
import errno
import fcntl
import itertools
import json
import lzma
import math
import os
import pathlib
import re
import shutil
import time

from . import FORMAT, Problem, reason

PACKED = "samples.jsonl.xz"


def is_finite(value):
    return isinstance(value, (int, float)) and math.isfinite(value)


def all_words(values):
    return all(isinstance(value, str) for value in values)


def is_column(column):
    return isinstance(column, dict) and all_words(column.get(key) for key in ("name", "path", "sha256")) and \
        column.keys() >= {"control_of"} and isinstance(column.get("environment"), dict) and \
        all_words(column["environment"].values())


def are_facts(section):
    return isinstance(section, dict) and all(isinstance(fact, (str, int)) for fact in section.values())


# What every reader counts on, and its kind; what came with later versions has a default where it is read.
HAS = {"run.json": {"columns": lambda found: isinstance(found, list) and found and all(map(is_column, found)),
                    "cells": lambda found: isinstance(found, list) and all_words(found),
                    "seed": lambda found: isinstance(found, int) and found >= 0,
                    "scale": is_finite, "usable_cpus": is_finite,  # a container's quota may be 1.5
                    "started": lambda found: isinstance(found, str), "finished": lambda found: isinstance(found, bool)},
       "environment.json": {"machine": lambda found: are_facts(found) and "CPUs allowed (affinity)" in found,
                            "software": are_facts, "kernel": are_facts}}
WORDS = {"name", "run_name", "run_type", "time_unit", "label", "aggregate_name", "error_message"}  # in a process's figures


def slug(name):
    """A file name that every system and artifact store takes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)


def write_whole(path, content):
    """The file has its old or its new content, never half."""
    partial = path.with_name(path.name + ".part")
    try:
        partial.write_bytes(content if isinstance(content, bytes) else content.encode())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise Problem(f"cannot write {path}: {error.strerror}") from None


def lacks(name, content):
    """What a file of ours does not have, or has as something else; None when it is whole."""
    return next((key for key, is_good in HAS.get(name, {}).items() if not is_good(content.get(key))), None)


def parsed(text):
    """The JSON in it; ValueError where it is none, or has half of a character, which no report could be written with."""
    content = json.loads(text)
    if (b"\\ud" if isinstance(text, bytes) else "\\ud") in text.lower():
        json.dumps(content, ensure_ascii=False).encode()
    return content


def as_sample(line):
    """((round, column), sample) of a line; ValueError where it is none, or has a word where a figure belongs."""
    sample = parsed(line)
    try:
        suite = sample["suite"]
        if not suite.get("failure"):
            entry = sample["benchmarks"][0]
            bad = next((key for key, value in entry.items() if key not in WORDS and not is_finite(value)), None)
            bad = bad or not is_finite(suite.get("cpu_seconds", 0)) and "cpu_seconds"
            if bad or not {"ops_per_second", "peak_rss_bytes"} <= entry.keys():
                raise ValueError(bad)
        return (suite["round"], suite["column"]), sample
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(str(error)) from None


def failure_of(samples, column):
    """'crashed: SIGSEGV (1 of 3 runs)' or None: one failure makes the row a failure."""
    mine = [sample["suite"].get("failure") for (_, name), sample in samples.items() if name == column]
    bad = [failure for failure in mine if failure]
    return f"{bad[0]} ({len(bad)} of {len(mine)} runs)" if bad else None


def fresh(results, what, commit):
    """A new folder results/<date>-<what>-<commit>, if that is known, with a number where that is taken."""
    name = f"{time.strftime('%Y-%m-%d')}-{what}" + (f"-{commit}" if commit != "unknown" else "")
    for number in itertools.count(1):
        folder = Folder(pathlib.Path(results) / (name if number == 1 else f"{name}-{number}"))
        if folder.create(new=True):
            return folder


def point(link, folder):
    """Make link lead to folder, in one step. A folder of that name is set aside, not lost."""
    if link.is_dir() and not link.is_symlink():
        for number in itertools.count(1):
            aside = link.with_name(f"{link.name}-before-{number}")
            if not aside.exists():
                break
        link.rename(aside)
    partial = link.with_name(link.name + ".part")
    partial.unlink(missing_ok=True)
    partial.symlink_to(os.path.relpath(folder, link.parent))
    partial.replace(link)


class Folder:
    def __init__(self, path, link=None):
        self.path = pathlib.Path(path)
        self.raw = self.path / "raw"
        self.link = link  # what leads to the folder from its first sample on
        self.descriptor = self.unpacked = None

    def create(self, new=False):
        """False: it should be new and is there already."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.mkdir(exist_ok=not new)
            self.raw.mkdir(exist_ok=True)
        except FileExistsError:
            if new:
                return False
            raise Problem(f"{self.path} is not a folder") from None
        except OSError as error:
            raise Problem(f"cannot make the results folder {self.path}: {error.strerror}") from None
        return True

    def lock(self):
        """Held until this process ends: a second run would mix its samples with ours."""
        self.descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = self.read("run.json").get("pid", "unknown") if self.holds_run() else "unknown"
            raise Problem(f"{self.path} is being written by another run, process {holder}: "
                          "wait for it, or name another folder with --out") from None

    def holds_run(self):
        return (self.path / "run.json").exists()

    def is_packed(self):
        return (self.path / PACKED).exists()

    def is_empty(self):
        return not self.is_packed() and not any(self.raw.glob("*.jsonl"))

    def leave(self):
        """Of a run that ended before its first sample nothing is worth keeping."""
        if not self.path.is_dir() or not self.is_empty():
            return
        for name in ("run.json", "environment.json"):
            (self.path / name).unlink(missing_ok=True)
        for folder in (self.raw, self.path):
            if folder.is_dir() and not any(folder.iterdir()):  # what is not ours stays
                folder.rmdir()

    def write(self, name, content):
        text = content if isinstance(content, (str, bytes)) else json.dumps(content, indent=1) + "\n"
        write_whole(self.path / name, text)

    def read(self, name):
        try:
            content = parsed((self.path / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise Problem(f"{self.path} is not a results folder: it has no {name}") from None
        except (OSError, ValueError) as error:
            raise Problem(f"{self.path / name} cannot be read: {reason(error)}") from None
        found = content.get("format") if isinstance(content, dict) else None
        if found != FORMAT:
            raise Problem(f"{self.path / name} has format {found}; this version reads format "
                          f"{FORMAT} only: run both sides with one version of the suite")
        if missing := lacks(name, content):
            raise Problem(f"{self.path / name} is damaged: its '{missing}' is missing or no such thing")
        return content

    def append(self, cell, sample):
        """One finished process. On a full disk nothing of it stays, and all before does."""
        path = self.raw / (slug(cell) + ".jsonl")
        sample["suite"]["cell"] = cell
        line = (json.dumps(sample, separators=(",", ":")) + "\n").encode()
        try:
            with open(path, "ab", buffering=0) as file:
                before = file.tell()
                try:
                    if file.write(line) != len(line):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                except OSError:
                    file.truncate(before)
                    raise
            if self.link:
                point(self.link, self.path)
                self.link = None
        except OSError as error:
            raise Problem(f"cannot write {path}: {error.strerror}; "
                          "what was finished is kept") from None

    def samples(self, cell):
        """{(round, column): sample} of a cell; the last one said of a pair counts."""
        if self.is_packed():
            return self.packed().get(cell, {})
        path = self.raw / (slug(cell) + ".jsonl")
        return read_lines(path.read_bytes()) if path.exists() else {}

    def seconds(self, cells):
        """How long the processes of these cells took."""
        return sum(sample["suite"].get("seconds", 0) for cell in cells for sample in self.samples(cell).values())

    def packed(self):
        """{cell: samples}, read once."""
        if self.unpacked is None:
            found = {}
            try:
                for line in lzma.decompress((self.path / PACKED).read_bytes()).splitlines():
                    key, sample = as_sample(line)
                    found.setdefault(sample["suite"]["cell"], {})[key] = sample
            except (OSError, lzma.LZMAError) as error:
                raise Problem(f"{self.path / PACKED} cannot be read: {reason(error)}") from None
            except (ValueError, KeyError, TypeError):
                raise Problem(f"{self.path / PACKED} is damaged: a line of it is no sample") from None
            self.unpacked = found
        return self.unpacked

    def pack(self, cells):
        """raw/ as one compressed file, some thirtieth of the size."""
        if self.is_packed():
            return
        lines = []
        for cell in cells:
            for sample in self.samples(cell).values():
                sample["suite"]["cell"] = cell
                lines.append(json.dumps(sample, separators=(",", ":")) + "\n")
        self.write(PACKED, lzma.compress("".join(lines).encode(), preset=9 | lzma.PRESET_EXTREME))
        if sum(map(len, self.packed().values())) != len(lines):
            (self.path / PACKED).unlink()
            raise Problem(f"{self.path / PACKED} did not come out whole; raw/ is kept")
        shutil.rmtree(self.raw)

    def mend(self, cell):
        """End a line that a kill cut short, so that the next one starts afresh."""
        path = self.raw / (slug(cell) + ".jsonl")
        if path.exists():
            data = path.read_bytes()
            if data and not data.endswith(b"\n"):
                os.truncate(path, data.rfind(b"\n") + 1)


def read_lines(data):
    found = {}
    for line in data.split(b"\n"):
        try:
            key, sample = as_sample(line)
            found[key] = sample
        except (ValueError, TypeError):
            continue
    return found
