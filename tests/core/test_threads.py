"""Tasks on threads: each done once, in the order asked, by operations on one thread, and what fails is told."""

from collections.abc import Iterator

import pytest
import torch

from core.learn.threads import side_by_side


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_each_task_is_done_once_in_order_by_operations_on_one_thread() -> None:
    assert list(side_by_side(lambda n: (n, torch.get_num_threads()), range(1000))) == [(n, 1) for n in range(1000)]
    assert torch.get_num_threads() == 3
    assert list(side_by_side(lambda n: (n, torch.get_num_threads()), [7])) == [(7, 3)]
    assert list(side_by_side(str, [])) == []


def test_what_fails_in_a_thread_is_told_and_leaves_the_threads_as_they_were() -> None:
    with pytest.raises(ZeroDivisionError):
        list(side_by_side(lambda n: 1 // (n - 5), range(10)))
    assert torch.get_num_threads() == 3
