#!/usr/bin/env python3
"""usage: claims.py DOCUMENT BUILD

Every test that the document names exists in the build, and each of its claims names one.
"""
import pathlib
import re
import subprocess
import sys

GROUPS = "unit|death|guard|profile|stats|stress|fault|memory|fuzz|model|compat|disasm|variant|cross|trace"


def existing(build):
    listed = subprocess.run(["ctest", "-N"], cwd=build, capture_output=True, text=True, check=True)
    return set(re.findall(r"Test +#\d+: (\S+)", listed.stdout))


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    tests, faults, claims = existing(sys.argv[2]), [], 0
    for number, line in enumerate(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8").splitlines(), 1):
        named = re.findall(rf"`((?:{GROUPS})\.[\w.-]+)`", line)
        faults += [f"line {number}: no test is called {name}" for name in named
                   if name not in tests and name != "unit.claims"]
        if line.startswith("| ") and not line.startswith("| claim"):
            claims += 1
            if not named:
                faults.append(f"line {number}: a claim without a test")
    if not claims:
        faults.append("no claim found")
    print("\n".join(faults) or f"{claims} claims, every test of theirs exists")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
