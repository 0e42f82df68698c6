"""A command of the suite in a process that imported its packages already, which takes most of a short command's time."""
import atexit
import os
import runpy
import shutil
import signal
import sys
import tempfile
import traceback
import warnings

import jinja2  # noqa: F401  (this and the next: what the suite needs beyond Python)
import matplotlib
import scipy.special  # noqa: F401  (and numpy with it)

matplotlib.use("Agg")
import matplotlib.pyplot  # noqa: E402,F401  (after the backend is chosen)

sys.pycache_prefix = tempfile.mkdtemp(prefix="suite-test-code-")  # nothing is written beside the modules
atexit.register(shutil.rmtree, sys.pycache_prefix, ignore_errors=True)


def start_anew(environment, streams):
    """What differs between a child of fork and an interpreter that was just started."""
    atexit._clear()  # what the tests registered is theirs
    os.environ.clear()
    os.environ.update(environment)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(streams[name].fileno(), number)
        setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.alarm(600)  # nothing takes so long: it hangs
    warnings.resetwarnings()
    for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", kind)
    for name in [name for name in sys.modules if name.partition(".")[0] == "suite"]:
        del sys.modules[name]
    sys.dont_write_bytecode = False


def command(words):
    """python3 -m suite WORDS; the exit status."""
    sys.argv = ["suite", *words]
    try:
        runpy.run_module("suite", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code or 0
    except BaseException:  # as the interpreter would
        traceback.print_exc()
        return 1


def only_named(figure, path, **_):
    """For Figure.savefig: nothing is drawn, which takes longer than all else of a short run."""
    path.write_bytes(b"")


def run(words, environment, draws):
    """(status, standard output, standard error)"""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                start_anew(environment, {"stdout": out, "stderr": err})
                if not draws:
                    matplotlib.figure.Figure.savefig = only_named
                status = command(words)
                atexit._run_exitfuncs()
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        for stream in (out, err):
            stream.seek(0)
        return os.waitstatus_to_exitcode(status), out.read().decode(), err.read().decode()
