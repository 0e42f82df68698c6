import signal
import sys

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # while modules load nothing is there to be kept or told

from .cli import main  # noqa: E402

sys.exit(main())
