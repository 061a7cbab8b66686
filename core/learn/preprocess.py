"""What of the training part is learned from, and how often: cleaning rules, and sampling weights of users and targets.

Nothing here touches a question: validation and test ask the same with the same contexts, so that runs with other rules
are compared on the same targets. Rules act in the order of the configuration's fields, once each.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from core.learn.config import PreprocessConfig
from core.learn.sequences import FloatArray, Histories, Sampling, Split
from data.errors import InvalidConfig

DAY_S = 86_400


def prepared(
    split: Split, rules: PreprocessConfig, *, n_items: int, groups: npt.NDArray[np.object_] | None = None
) -> tuple[Split, dict[str, int]]:
    """The split with what the rules leave to be learned from, and how many events each active cleaning rule took.

    groups (H,): the value of `balance_by` of each history's user. Raises InvalidConfig where nothing is left.
    """
    train, taken = cleaned(split.train, rules)
    if len(split.train.item) and not len(train.item):
        raise InvalidConfig(f"preprocess leaves no event to learn from: {taken}", remedy="loosen its rules")
    sampling = sampling_of(train, rules, n_items=n_items, groups=groups)
    return replace(split, train=train, sampling=sampling), taken


def cleaned(train: Histories, rules: PreprocessConfig) -> tuple[Histories, dict[str, int]]:
    """The training part under the cleaning rules, histories perhaps empty, and the events that each rule took."""
    taken: dict[str, int] = {}

    def keep(name: str, kept: npt.NDArray[np.bool_]) -> None:
        nonlocal train
        taken[name] = int((~kept).sum())
        train = train.events(kept)

    if rules.drop_repeats:
        owner = train.owner
        same = (owner[1:] == owner[:-1]) & (train.item[1:] == train.item[:-1])
        keep("drop_repeats", ~np.concatenate([[False], same])[: len(owner)])
    if rules.recent_days is not None:
        keep("recent_days", train.ts >= train.ts.max(initial=0) - rules.recent_days * DAY_S)
    if rules.max_user_events is not None:
        keep("max_user_events", (train.lengths <= rules.max_user_events)[train.owner])
    if rules.min_item_events:
        keep("min_item_events", np.bincount(train.item)[train.item] >= rules.min_item_events)
    if rules.min_user_events:
        keep("min_user_events", (train.lengths >= rules.min_user_events)[train.owner])
    return train, taken


def sampling_of(
    train: Histories, rules: PreprocessConfig, *, n_items: int, groups: npt.NDArray[np.object_] | None
) -> Sampling:
    """The weights that the rules ask for; groups (H,): the value of `balance_by` of each history's user."""
    users: npt.NDArray[np.float64] | None = None
    if rules.user_power or groups is not None:
        lengths = train.lengths
        users = np.where(lengths > 0, np.maximum(lengths, 1).astype(np.float64) ** rules.user_power, 0.0)
        if groups is not None:
            _, group = np.unique(groups.astype(str), return_inverse=True)
            users = users / np.maximum(np.bincount(group, users)[group], 1e-300)
    targets: FloatArray | None = None
    if rules.frequent_target is not None:
        share = np.bincount(train.item, minlength=n_items) / max(len(train.item), 1)
        targets = np.sqrt(rules.frequent_target / np.maximum(share, rules.frequent_target)).astype(np.float32)
    return Sampling(users, targets)
