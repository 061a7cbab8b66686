"""Small torch work side by side: one task a core, each operation on one thread.

Operations of a few milliseconds gain little from being split over cores, and lose much when another process holds one
of them: every split ends in a wait for the slowest part. So tasks are split instead; results come in the order asked.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Asked = TypeVar("Asked")
Given = TypeVar("Given")


def side_by_side(work: Callable[[Asked], Given], asked: Sequence[Asked]) -> Iterator[Given]:
    """`work` of each task, in order, on as many threads as torch is set to use; a single task is split after all.

    Tasks share no random state; whether gradients are on is for `work` to say, as a thread does not inherit it.
    """
    if min(len(asked), torch.get_num_threads()) <= 1:
        yield from map(work, asked)
        return
    with _operations_on_one_thread() as n_threads, ThreadPoolExecutor(n_threads) as pool:
        yield from pool.map(work, asked)


@contextmanager
def _operations_on_one_thread() -> Iterator[int]:
    """Yields how many threads torch was set to use, which it uses again afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield before
    finally:
        torch.set_num_threads(before)
