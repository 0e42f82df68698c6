"""Several runs as one, for one report: programs and workloads are measured in runs of their own.

Only runs of the same libraries on the same machine: what differs is named, and refused.
"""
from . import Problem, compare
from .store import Folder


class Joined:
    """Reads as a Folder does; writes its reports to a folder that holds no run."""

    def __init__(self, paths, out):
        self.folders = [Folder(path) for path in paths]
        self.out = Folder(out)
        self.runs = [folder.read("run.json") for folder in self.folders]
        self.environments = [folder.read("environment.json") for folder in self.folders]
        self.columns = self.common_columns()
        self.check()
        if self.out.holds_run():
            raise Problem(f"{self.out.path} holds a run; --out names another folder for the report")
        self.out.path.mkdir(parents=True, exist_ok=True)
        self.path = self.out.path
        self.write = self.out.write

    def common_columns(self):
        """The columns that all runs have, and the controls of any."""
        others = [{column["name"]: column["sha256"] for column in run["columns"]} for run in self.runs]
        for name, sha256 in others[0].items():
            if any(run.get(name, sha256) != sha256 for run in others):
                raise Problem(f"the runs have another library each for '{name}': a report shows one")
        controls = [column for run in self.runs for column in run["columns"] if column["control_of"]][:1]
        return [column for column in self.runs[0]["columns"]
                if not column["control_of"] and all(column["name"] in run for run in others)] + controls

    def check(self):
        first = self.environments[0]
        for folder, environment in zip(self.folders[1:], self.environments[1:]):
            for section, name, before, after in compare.differences(first, environment):
                if section in ("machine", "kernel"):
                    raise Problem(f"{self.folders[0].path} and {folder.path} are of different machines: {name} is {before} "
                                  f"and {after}")
        # What is said of scale is said of workloads: programs and traces have none.
        self.of_workloads = [run for run in self.runs if not (run.get("programs") or run.get("traces"))]
        for what, runs in (("scale", self.of_workloads), ("memory", self.runs)):
            said = list(dict.fromkeys(str(run.get(what)) for run in runs))
            if len(said) > 1:
                raise Problem(f"the runs have another --{what} each, {' and '.join(said)}: a report shows one")
        cells = [cell for run in self.runs for cell in run["cells"]]
        if twice := next((cell for cell in cells if cells.count(cell) > 1), None):
            raise Problem(f"two of the runs have the cell {twice}: a report shows one")
        if len(self.columns) < 2:
            raise Problem("the runs have fewer than two columns in common")

    def samples(self, cell):
        return next(folder.samples(cell) for folder, run in zip(self.folders, self.runs) if cell in run["cells"])

    def read(self, name):
        if name == "environment.json":
            warnings = [warning for environment in self.environments for warning in environment.get("warnings", ())]
            return self.environments[0] | {"warnings": list(dict.fromkeys(warnings))}
        of_workloads = (self.of_workloads or self.runs)[0]
        stopped = [run["stopped"] for run in self.runs if run["stopped"]]
        return self.runs[0] | {
            "columns": self.columns, "cells": [cell for run in self.runs for cell in run["cells"]],
            "scale": of_workloads["scale"], "scope": of_workloads.get("scope"),
            "left_out": [name for run in self.runs for name in run.get("left_out", [])],
            "finished": all(run["finished"] for run in self.runs), "stopped": "; ".join(stopped) or None}
