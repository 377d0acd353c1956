"""For all rooms: one thread for torch, so that tests of processes side by side don't fight for two cores."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_configure(config):
    import torch

    torch.set_num_threads(1)
