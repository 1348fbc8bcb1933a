"""Imported by worker processes: signals that are meant for the driver do not reach them.

Ctrl-C goes to every process of a terminal, and a service manager's SIGTERM to every process of a
service. It is the driver that decides what is still to be finished; when it ends, so do they.
"""

import signal

for _name in ("SIGINT", "SIGTERM", "SIGHUP"):
    _number = getattr(signal, _name, None)  # Windows has no hang-up
    if _number is not None:
        signal.signal(_number, signal.SIG_IGN)
