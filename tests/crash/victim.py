"""A server that kills itself: `victim.py HOME PORT [STEP N]` dies at the N-th time of a step.

Thresholds are shrunk, so that a few dozen documents seal, merge and save segments.
"""

import os
import signal
import sys
import threading
from functools import partial
from pathlib import Path

from embedsvc.app import build_service
from embedsvc.index import faiss
from embedsvc.server import run
from embedsvc.settings import read_settings

LIMITS = faiss.Limits(seal=6, fan_in=2, approximate=24, dead_share=0.3)


class DieAt:
    """Counts how often a step is reached, in whatever thread, and kills the process there."""

    def __init__(self, step: str, count: int) -> None:
        self._step, self._left = step, count
        self._lock = threading.Lock()

    def __call__(self, step: str) -> None:
        if step != self._step:
            return
        with self._lock:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def main(home: str, port: str, step: str = "", count: str = "0") -> None:
    settings = read_settings(
        {}, Path(home), home=Path(home), port=int(port), embedding="hash:32", samples=False
    )
    on_step = DieAt(step, int(count))
    engine = partial(faiss.create, limits=LIMITS)
    run(settings, lambda given: build_service(given, on_step, engine))


if __name__ == "__main__":
    main(*sys.argv[1:])
