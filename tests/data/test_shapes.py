import numpy as np
import pytest

from deformlab.data import Shapes


def test_a_sample_has_the_documented_types_and_shapes():
    sample = Shapes(size=64)[0]
    assert sample["image"].dtype == np.uint8
    assert sample["image"].shape == (64, 64, 3)
    assert sample["label"].dtype == np.uint8
    assert sample["instance"].dtype == np.int32
    assert sample["label"].shape == sample["instance"].shape == (64, 64)
    assert sample["name"] == "train_00000"


def test_an_image_depends_on_seed_split_and_index_alone():
    first, second = Shapes(size=64), Shapes(size=64)
    second[5]
    for key in ("image", "label", "instance"):
        assert (first[3][key] == second[3][key]).all()


@pytest.mark.parametrize(
    "other", [Shapes(size=64, seed=1)[3], Shapes(split="val", size=64)[3], Shapes(size=64)[4]]
)
def test_another_seed_split_or_index_gives_another_image(other):
    assert (Shapes(size=64)[3]["image"] != other["image"]).mean() > 0.5


def test_every_class_occurs_and_background_covers_most():
    data = Shapes()
    shares = sum(np.bincount(data[i]["label"].ravel(), minlength=4) for i in range(60)) / (60 * 192**2)
    assert 0.5 < shares[0] < 0.85
    assert (shares[1:] > 0.03).all()


def test_an_instance_has_one_class_and_background_has_none():
    for index in range(10):
        sample = Shapes(size=96)[index]
        assert ((sample["instance"] == 0) == (sample["label"] == 0)).all()
        for number in np.unique(sample["instance"])[1:]:
            assert len(np.unique(sample["label"][sample["instance"] == number])) == 1


def test_shapes_occlude_each_other():
    # One big shape that covers the whole image, then smaller ones on top of it.
    data = Shapes(size=64, radius=(5, 60), shapes=(8, 8), train_images=20)
    touching = 0
    for index in range(20):
        instance = data[index]["instance"]
        right, left = instance[:, 1:], instance[:, :-1]
        touching += ((right != left) & (right > 0) & (left > 0)).any()
    assert touching >= 15


def test_radii_are_log_uniform():
    data = Shapes(size=400, radius=(8, 32), shapes=(1, 1), train_images=150)
    extents = []
    for index in range(150):
        rows, columns = np.nonzero(data[index]["label"] == 1)
        inside = rows.size and min(rows.min(), columns.min()) > 0 and max(rows.max(), columns.max()) < 399
        if inside:
            extents.append(np.sqrt(rows.size / np.pi))
    # The geometric mean of 8 and 32 is 16: half of the discs are smaller.
    assert len(extents) > 25
    assert 7 < min(extents) < 10
    assert 26 < max(extents) < 38
    assert 13 < np.median(extents) < 19


def test_only_the_rim_tells_an_object_from_the_background():
    data = Shapes(radius=(40, 60), shapes=(1, 1), train_images=40, tint=60)
    inner, rim, outer = [], [], []
    for index in range(40):
        sample = data[index]
        mask = sample["label"] > 0
        distance = _distance_to_outside(mask)
        chroma = sample["image"].astype(float)
        chroma -= chroma.mean(axis=2, keepdims=True)
        kind = sample["label"].max()
        if kind:
            tint = chroma[..., kind - 1]
            rim.append(tint[mask & (distance < 2)])
            inner.append(tint[distance > 15])
            outer.append(tint[~mask])
    inner, rim, outer = (np.concatenate(parts).mean() for parts in (inner, rim, outer))
    assert rim > 30
    assert abs(inner - outer) < 1


@pytest.mark.parametrize(("radius", "width"), [(10, 2), (50, 6)])
def test_the_rim_is_a_share_of_the_radius_and_at_least_two_pixels(radius, width):
    data = Shapes(
        radius=(radius, radius), shapes=(1, 1), size=256, train_images=60, noise=0, tint=120, rim=0.12
    )
    discs = [data[i] for i in range(60) if data[i]["label"].max() == 1]
    widths = []
    for sample in discs:
        mask = sample["label"] == 1
        image = sample["image"].astype(float)
        tinted = mask & (image[..., 0] - image[..., 1:].mean(axis=2) > 90)
        distance = _distance_to_outside(mask)
        if tinted.any():
            widths.append(np.quantile(distance[tinted], 0.98))
    assert widths
    assert abs(np.median(widths) - width) < 1


def test_a_cached_sample_equals_a_generated_one():
    cached, generated = Shapes(size=64, cache=True), Shapes(size=64, cache=False)
    for _ in range(2):
        for key in ("image", "label", "instance"):
            assert (cached[2][key] == generated[2][key]).all()
            assert cached[2][key].dtype == generated[2][key].dtype
    assert cached[2]["image"] is cached[2]["image"]


def test_the_number_of_images_is_an_argument():
    assert len(Shapes(train_images=7)) == 7
    assert len(Shapes(split="val", val_images=3)) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "dev"}, "split='dev'.*train, val, test"),
        ({"train_images": 0}, "train_images=0: must be at least 1"),
        ({"size": 8}, "size=8: must be at least 16"),
        ({"radius": (9, 3)}, r"radius=\(9, 3\)"),
        ({"rim": 0}, "rim=0: must be a share"),
        ({"shapes": (0, 3)}, r"shapes=\(0, 3\)"),
    ],
)
def test_an_illegal_argument_is_named_with_what_is_legal(arguments, message):
    with pytest.raises(ValueError, match=message):
        Shapes(**arguments)


def _distance_to_outside(mask):
    from scipy import ndimage

    return ndimage.distance_transform_edt(mask)
