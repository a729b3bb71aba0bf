"""What the fork server imports first, and no other process; see `studies.execution.fork_server`."""

from __future__ import annotations

import ctypes
import gc
import os
import signal

from studies.execution.fork_server import MARK

# linux/prctl.h: the signal that this process gets when its parent dies.
_PR_SET_PDEATHSIG = 1

if os.environ.pop(MARK, None):
    # While it loads it would not see that it is not needed any more, and hold the command's output.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # Workers switch it on again; what is loaded stays.
    gc.disable()
