import numpy as np
import pytest

from deformlab.data import DATASETS, SegmentationDataset, Shapes
from deformlab.errors import ConfigError, DatasetError, DeformlabError

BENCHMARKS = {name: dataset for name, dataset in DATASETS.items() if name != "folder"}


@pytest.mark.parametrize("dataset", BENCHMARKS.values(), ids=BENCHMARKS.keys())
def test_every_data_set_describes_its_classes_consistently(dataset: type[SegmentationDataset]):
    assert len(set(dataset.classes)) == len(dataset.classes)
    assert dataset.palette.shape == (len(dataset.classes), 3)
    assert dataset.palette.dtype == np.uint8
    assert len(np.unique(dataset.palette, axis=0)) == len(dataset.classes)
    assert set(dataset.things) <= set(dataset.classes)
    assert {dataset.train_split, "val"} <= set(dataset.splits)


@pytest.mark.parametrize(
    ("name", "classes"), [("shapes", 4), ("camvid", 11), ("cityscapes", 19), ("voc", 21)]
)
def test_the_number_of_classes_is_that_of_the_benchmark(name, classes):
    assert len(DATASETS[name].classes) == classes


def test_a_transform_sees_the_raw_sample():
    names = [Shapes(size=32, transform=lambda sample: sample["name"])[i] for i in range(2)]
    assert names == ["train_00000", "train_00001"]


@pytest.mark.parametrize("kind", [DatasetError, ConfigError])
def test_an_error_from_a_worker_process_stays_one_line(kind: type[DeformlabError]):
    from torch._utils import ExceptionWrapper

    try:
        try:
            raise OSError("disk\nfailed")
        except OSError:
            raise kind("image.png: cannot be read; replace it")  # noqa: B904
    except kind:
        wrapped = ExceptionWrapper(where="in DataLoader worker process 0")
    with pytest.raises(kind) as caught:
        wrapped.reraise()
    assert str(caught.value) == "image.png: cannot be read; replace it"
