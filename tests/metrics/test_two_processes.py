"""The metrics under torch.distributed: every process computes the result of all the data."""

import json
import subprocess
import sys

PROGRAM = """
import json, sys
import numpy as np
import torch
import torch.distributed as dist
from deformlab.metrics import EffectiveDilation, LayerGeometry, MeanIoU, ObjectScores, find_objects
from deformlab.records import join_scores

rank, rendezvous = int(sys.argv[1]), sys.argv[2]
UNEVEN, ALL_IN_ONE = [slice(0, 1), slice(1, 3)], [slice(0, 3), slice(3, 3)]
generator = torch.Generator().manual_seed(0)
preds, target, instances = torch.randint(0, 4, (3, 3, 16, 16), generator=generator)
offset = torch.randn(3, 18, 8, 8, generator=generator)
names = ['x', 'y', 'z']


def metrics(part):
    iou = MeanIoU(4)
    iou.update(preds[part], target[part])
    dilation = EffectiveDilation({"conv": LayerGeometry((3, 3), (2, 2), stride=2)}, thresholds=(100, 250))
    scores = ObjectScores()
    if len(instances[part]):
        objects = find_objects(instances[part], target[part], names[part])
        dilation.update({"conv": offset[part]}, objects)
        scores.update(objects, preds[part])
    measurement = dilation.compute()
    records = join_scores(measurement.records, scores.compute())
    (positions,) = measurement.positions
    assert len(positions.dilation) > 0
    unmodulated = (sums._replace(weighted=np.zeros(0)) for sums in records.sums.values())
    kept = [column.tolist() for sums in unmodulated for column in sums]
    kept += [np.asarray(column).tolist() for column in (*records._replace(sums=()), *positions)]
    return iou.compute().miou.item(), kept


alone = metrics(slice(None))
dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2)
print(json.dumps({"alone": alone, "uneven": metrics(UNEVEN[rank]), "all in one": metrics(ALL_IN_ONE[rank])}))
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
