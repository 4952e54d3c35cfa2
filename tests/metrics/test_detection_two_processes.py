"""The metrics of detectors under torch.distributed: every process computes the result of all the data."""

import json
import subprocess
import sys

PROGRAM = """
import json, sys
from types import SimpleNamespace
import numpy as np
import torch
import torch.distributed as dist
from pycocotools import mask as run_lengths
from deformlab.metrics import CocoAveragePrecision, DetectionScores, VocAveragePrecision, objects_from_boxes

rank, rendezvous = int(sys.argv[1]), sys.argv[2]
UNEVEN, ALL_IN_ONE = [slice(0, 1), slice(1, 4)], [slice(0, 4), slice(4, 4)]
generator = torch.Generator().manual_seed(0)


def masks_of(boxes):
    masks = torch.zeros(len(boxes), 60, 60, dtype=torch.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes.round().long().tolist()):
        mask[top:bottom, left:right] = 1
    return [run_lengths.encode(np.asfortranarray(mask.numpy())) for mask in masks]


def image(count):
    corner = torch.rand(count, 2, generator=generator) * 30
    boxes = torch.cat([corner, corner + 12 + 13 * torch.rand(count, 2, generator=generator)], dim=1)
    labels = torch.randint(0, 2, (count,), generator=generator)
    found = boxes + 5 * torch.randn(count, 4, generator=generator).clamp(-1, 1)
    scores = torch.rand(count, generator=generator).mul(10).round().div(10).sort(descending=True).values
    return SimpleNamespace(boxes=found, scores=scores, labels=labels, masks=masks_of(found)), (boxes, labels)


images = [image(count) for count in (5, 0, 3, 4)]
targets = {
    "boxes": [boxes for _, (boxes, _) in images],
    "labels": [labels for _, (_, labels) in images],
    "difficult": [torch.zeros(len(boxes), dtype=torch.bool) for _, (boxes, _) in images],
    "crowd": [torch.zeros(len(boxes), dtype=torch.bool) for _, (boxes, _) in images],
    "area": [(boxes[:, 2:] - boxes[:, :2]).prod(1) for _, (boxes, _) in images],
    "masks": [masks_of(boxes) for _, (boxes, _) in images],
    "name": ["x", "y", "z", "w"],
    "image_id": [3, 1, 2, 0],
    "original_size": [(60, 60)] * 4,
}


def metrics(part):
    batch = [found for found, _ in images[part]], {key: values[part] for key, values in targets.items()}
    averages = [CocoAveragePrecision(2, sizes=(200, 400)), VocAveragePrecision(2)]
    averages.append(CocoAveragePrecision(2, kind="masks", sizes=(200, 400)))
    scores = DetectionScores(2, score_threshold=0.2)
    if len(images[part]):
        for metric in averages:
            metric.update(*batch)
        keys = ("boxes", "labels", "name", "original_size")
        scores.update([objects_from_boxes(*row) for row in zip(*(batch[1][key] for key in keys))], *batch)
    records = scores.compute()
    results = [metric.compute() for metric in averages]
    assert all(0.05 < result.ap50 < 0.99 for result in results)
    kept = (records.image, records.object, records.label, records.box_area, *records.detections)
    return [results, [column.tolist() for column in kept]]


def repeated():
    # Both processes evaluate the same image; both must refuse it.
    refused = []
    for metric in (CocoAveragePrecision(2), VocAveragePrecision(2)):
        metric.update([images[0][0]], {key: values[:1] for key, values in targets.items()})
        try:
            metric.compute()
        except ValueError as error:
            refused.append(str(error))
    return refused


alone = metrics(slice(None))
dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2)
results = {"alone": alone, "uneven": metrics(UNEVEN[rank]), "all in one": metrics(ALL_IN_ONE[rank])}
print(json.dumps({**results, "refused": repeated()}))
dist.destroy_process_group()
"""


def test_two_processes_agree_with_one_to_the_last_bit(tmp_path):
    rendezvous = (tmp_path / "rendezvous").as_uri()
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", PROGRAM, str(rank), rendezvous],
            stdout=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    for process in processes:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        result = json.loads(output.splitlines()[-1])
        assert result["uneven"] == result["alone"]
        assert result["all in one"] == result["alone"]
        assert len(result["refused"]) == 2
        assert all("image x was evaluated 2 times" in message for message in result["refused"])
