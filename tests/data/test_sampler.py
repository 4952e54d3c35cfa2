import pytest

from deformlab.data import Shapes
from deformlab.data.sampler import SeededSampler


def order(epoch, seed=0, replicas=1, rank=0):
    sampler = SeededSampler(
        Shapes(train_images=20), num_replicas=replicas, rank=rank, shuffle=True, seed=seed, drop_last=True
    )
    sampler.set_epoch(epoch)
    return list(sampler)


def test_an_epoch_can_be_repeated_without_the_ones_before():
    assert order(epoch=3) == order(epoch=3)


def test_an_epoch_visits_every_sample_once():
    assert sorted(index for index, _ in order(epoch=0)) == list(range(20))


@pytest.mark.parametrize("change", [{"epoch": 1}, {"epoch": 0, "seed": 1}])
def test_another_epoch_or_seed_changes_order_and_augmentation(change):
    first, other = order(epoch=0), order(**change)
    assert [index for index, _ in first] != [index for index, _ in other]
    assert {seed for _, seed in first}.isdisjoint(seed for _, seed in other)


def test_processes_share_an_epoch_without_overlap():
    first, second = order(0, replicas=2, rank=0), order(0, replicas=2, rank=1)
    assert sorted(index for index, _ in first + second) == list(range(20))


def test_a_resumed_epoch_leaves_out_what_was_seen_and_the_next_one_is_whole():
    sampler = SeededSampler(Shapes(train_images=20), num_replicas=1, rank=0, drop_last=True)
    sampler.resume(epoch=3, seen=8)
    assert list(sampler) == order(epoch=3)[8:]
    sampler.set_epoch(4)
    assert list(sampler) == order(epoch=4)
