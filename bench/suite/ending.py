"""How each command ends: what went wrong is one line that names it, never a traceback."""
import os
import signal
import sys

from . import Problem, reason


interrupted = False  # a signal asked for the end


def interrupt(number, frame):
    """The handler of signals that end a command: modules that load may turn the exception into another."""
    global interrupted
    interrupted = True
    signal.default_int_handler(number, frame)


def of(name, main):
    """main()'s status (None: 0); 2 where the user can mend it, 130 interrupted, 1 where nobody reads on."""
    attach()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    try:
        status = main()
        sys.stdout.flush()  # a full disk is told here, not by the interpreter after the last line
        return status or 0
    except Problem as problem:
        line, status = str(problem), 2
    except KeyboardInterrupt:
        line, status = "interrupted", 130
    except BrokenPipeError:
        line, status = None, 1
    except ModuleNotFoundError as error:
        line, status = f"no Python module '{error.name}'; ci/setup bench installs it", 2
    except ImportError:  # numpy calls it a fault of its installation
        if not interrupted:
            raise
        line, status = "interrupted", 130
    except OSError as error:
        line, status = f"{error.filename or 'cannot write'}: {reason(error)}", 2
    silence(sys.stdout)
    try:
        if line:
            shown = line.encode(errors="surrogateescape").decode(errors="backslashreplace")  # a path may be no UTF-8
            print(f"{name}: {shown}", file=sys.stderr, flush=True)
    except OSError:
        silence(sys.stderr)
    return status


def attach():
    """Where the shell closed a stream (>&-): else the next file that is opened would take its number."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
            setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))


def silence(stream):
    """What is still to be written would fail again when the interpreter ends."""
    try:
        stream.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
