"""Pieces of work on threads: each done once, on one thread each, and what fails is told."""

from collections.abc import Iterator

import pytest
import torch

from core.learn.threads import spread


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
def test_each_piece_is_done_once_by_operations_on_one_thread_without_gradients() -> None:
    done: list[tuple[int, int, bool]] = []

    def work(pieces: Iterator[int]) -> None:
        done.extend((piece, torch.get_num_threads(), torch.is_grad_enabled()) for piece in pieces)

    spread(work, range(1000))
    assert sorted(done) == [(piece, 1, False) for piece in range(1000)]
    assert torch.get_num_threads() == 3
    assert torch.is_grad_enabled()
    spread(work, [])
    spread(work, range(1))
    assert len(done) == 1001


@pytest.mark.usefixtures("three_threads")
def test_what_fails_in_a_thread_is_told_and_leaves_the_threads_as_they_were() -> None:
    def work(pieces: Iterator[int]) -> None:
        for piece in pieces:
            if piece == 5:
                raise ValueError("five")

    with pytest.raises(ValueError, match="five"):
        spread(work, range(10))
    assert torch.get_num_threads() == 3
