"""Which groups of users may be shown, and which are compared. Apart from the audit, so that a page may ask without
loading its libraries."""

from collections.abc import Sequence
from itertools import combinations
from typing import Final

UNKNOWN: Final = "unknown"  # the group of those who state nothing
MOST_PAIRS: Final = 4  # up to so many groups every pair is compared; beyond, each with the largest


def suppressed_groups(sizes: dict[str, int], *, k: int) -> set[str]:
    """Groups of 1 to k - 1 users, and, where one alone or fewer than k users in all would be hidden, the next smallest
    too: otherwise the hidden figure follows from the total and the others."""
    some = sorted((name for name in sizes if sizes[name] > 0), key=lambda name: (sizes[name], name))
    hidden = [name for name in some if sizes[name] < k]
    rest = [name for name in some if sizes[name] >= k]
    while hidden and rest and (len(hidden) == 1 or sum(sizes[name] for name in hidden) < k):
        hidden.append(rest.pop(0))
    return set(hidden)


def pairs(groups: Sequence[str], sizes: dict[str, int]) -> list[tuple[str, str]]:
    """The pairs of groups whose gap is looked at."""
    if len(groups) <= MOST_PAIRS:
        return list(combinations(groups, 2))
    largest = max(groups, key=lambda group: sizes[group])
    return [(group, largest) for group in groups if group != largest]
