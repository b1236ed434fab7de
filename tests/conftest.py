"""What all tests share."""

from __future__ import annotations

import os

import torch

if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the cores: two threads each would wait for each other
    torch.set_num_threads(1)
