"""Both metrics under torch.distributed: every process computes the result of all the data."""

import json
import subprocess
import sys

PROGRAM = """
import json, sys
import torch
import torch.distributed as dist
from deformlab.metrics import EffectiveDilation, LayerGeometry, MeanIoU

rank, rendezvous = int(sys.argv[1]), sys.argv[2]
generator = torch.Generator().manual_seed(0)
preds, target, instances = torch.randint(0, 4, (3, 3, 16, 16), generator=generator)
offset = torch.randn(3, 18, 8, 8, generator=generator)
mine = [slice(0, 1), slice(1, 3)][rank]


def metrics(part):
    iou = MeanIoU(4)
    iou.update(preds[part], target[part])
    dilation = EffectiveDilation({"conv": LayerGeometry((3, 3), (2, 2))}, thresholds=(100, 250))
    dilation.update({"conv": offset[part]}, instances[part])
    rows = [(row.mean if row.count else None, row.count) for row in dilation.compute()]
    return iou.compute().miou.item(), rows


alone = metrics(slice(None))
dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2)
print(json.dumps({"alone": alone, "together": metrics(mine)}))
dist.destroy_process_group()
"""


def test_two_processes_agree_with_one(tmp_path):
    rendezvous = (tmp_path / "rendezvous").as_uri()
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", PROGRAM, str(rank), rendezvous], stdout=subprocess.PIPE
        )
        for rank in range(2)
    ]
    for process in processes:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        result = json.loads(output.splitlines()[-1])
        miou, rows = result["together"]
        expected_miou, expected_rows = result["alone"]
        assert miou == expected_miou
        assert [count for _, count in rows] == [count for _, count in expected_rows]
        for (mean, _), (expected, _) in zip(rows, expected_rows, strict=True):
            assert mean == expected or abs(mean - expected) < 1e-12
