"""What is like an item: nearest by cosine, whatever the length, and nothing that is not to be had."""

from collections.abc import Callable

import pytest
import torch

from core.predict.served import ServedModel
from core.predict.similar import similar_items
from data.errors import InputError


def test_the_nearest_by_cosine_come_first_whatever_their_length(make_served: Callable[..., ServedModel]) -> None:
    served = make_served()
    vectors = served.network.items()[0]
    near, far = vectors[5].clone(), vectors[5].clone()
    near[0] += 0.1
    far[0] += 1.0
    for item, wanted in ((9, 0.01 * near), (1, 100 * far), (39, vectors[5])):  # 39 is not available, 1 is untrained
        served.network.id_vector[item] += wanted - vectors[item]
    told = similar_items(served, 5, k=3)
    assert [one["key"] for one in told[:2]] == ["k9", "k1"]
    assert [one["source"] for one in told[:2]] == ["model", "cold"]
    assert [one["rank"] for one in told] == [1, 2, 3]
    assert told[0]["similarity"] == pytest.approx(torch.cosine_similarity(near, vectors[5], dim=0).item(), abs=1e-5)
    everything = similar_items(served, 5, k=1000)
    assert len(everything) == 38
    assert not {"k5", "k39"} & {one["key"] for one in everything}
    with pytest.raises(InputError):
        similar_items(served, 5, k=0)
