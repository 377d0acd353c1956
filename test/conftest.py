"""For all rooms: one thread for torch, so that tests of processes side by side don't fight for two cores; Ctrl-C."""

import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_configure(config):
    import torch

    torch.set_num_threads(1)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # So it is where a shell started this in the background, and so would all commands under test inherit it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
