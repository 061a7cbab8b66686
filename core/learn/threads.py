"""Independent pieces of work, a thread each, in place of operations that are split over threads.

Scoring is many operations of a millisecond. Split over cores, each of them waits for the slower core (and on a busy
machine for one that is not running); pieces that need nothing of each other wait once, at the end.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Piece = TypeVar("Piece")


def spread(work: Callable[[Iterator[Piece]], None], pieces: Sequence[Piece]) -> None:
    """Call `work` on as many threads as torch has here, each with one iterator of the pieces that are left; operations
    in it run on one thread, without gradients. What `work` raises is raised. pieces: a list or a range."""
    threads = torch.get_num_threads()
    left = iter(pieces)  # a list's and a range's iterator give each piece once, whoever asks
    at_once = min(threads, len(pieces))
    if at_once <= 1:
        with torch.no_grad():
            work(left)
        return

    def on_one() -> None:
        with torch.no_grad():
            work(left)

    try:
        with ThreadPoolExecutor(at_once, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for done in [pool.submit(on_one) for _ in range(at_once)]:
                done.result()
    finally:
        torch.set_num_threads(threads)  # the number is each thread's own, but a new thread's is the one set last
