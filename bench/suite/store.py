"""The results folder: samples as they come, kept through crashes and full disks.

  run.json            format, seed, options, columns, cells, whether it was finished
  environment.json    the machine and the software
  raw/CELL.jsonl      one line a process: Google Benchmark's JSON, whole, and under
                      "suite" what the runner saw: round, column, order, failure
  results.json …      the reports; made again from the above at any time

A line that was cut short by a kill is ignored and its block run again.
"""
import errno
import json
import os
import pathlib
import re

from . import FORMAT, Problem


def slug(name):
    """A file name that every system and artifact store takes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)


def write_whole(path, text):
    """The file has its old or its new content, never half."""
    partial = path.with_name(path.name + ".part")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise Problem(f"cannot write {path}: {error.strerror}") from None


class Folder:
    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.raw = self.path / "raw"

    def create(self):
        try:
            self.raw.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Problem(f"cannot make the results folder {self.raw}: {error.strerror}") from None

    def holds_run(self):
        return (self.path / "run.json").exists()

    def write(self, name, content):
        text = content if isinstance(content, str) else json.dumps(content, indent=1) + "\n"
        write_whole(self.path / name, text)

    def read(self, name):
        try:
            content = json.loads((self.path / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise Problem(f"{self.path} is not a results folder: it has no {name}") from None
        except (OSError, ValueError) as error:
            raise Problem(f"{self.path / name} cannot be read: {error}") from None
        found = content.get("format") if isinstance(content, dict) else None
        if found != FORMAT:
            raise Problem(f"{self.path / name} has format {found}; this version reads format "
                          f"{FORMAT} only: run both sides with one version of the suite")
        return content

    def append(self, cell, sample):
        """One finished process. On a full disk nothing of it stays, and all before does."""
        path = self.raw / (slug(cell) + ".jsonl")
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
        except OSError as error:
            raise Problem(f"cannot write {path}: {error.strerror}; "
                          "what was finished is kept") from None

    def samples(self, cell):
        """[(round, column, sample)] of a cell; the last one said of a pair counts."""
        path = self.raw / (slug(cell) + ".jsonl")
        if not path.exists():
            return {}
        found = {}
        for line in path.read_bytes().split(b"\n"):
            try:
                sample = json.loads(line)
                found[sample["suite"]["round"], sample["suite"]["column"]] = sample
            except (ValueError, KeyError, TypeError):
                continue
        return found

    def mend(self, cell):
        """End a line that a kill cut short, so that the next one starts afresh."""
        path = self.raw / (slug(cell) + ".jsonl")
        if path.exists():
            data = path.read_bytes()
            if data and not data.endswith(b"\n"):
                write_bytes = data[:data.rfind(b"\n") + 1]
                os.truncate(path, len(write_bytes))
