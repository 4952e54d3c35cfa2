"""The benchmark of the metrics: what it prints and saves, and that a part does not erase another."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "scripts" / "bench_metrics.py"


def test_a_part_has_times_ratio_limit_and_provenance_and_keeps_the_other_part(tmp_path):
    output = tmp_path / "metrics.json"
    output.write_text(json.dumps({"validation": {"ratio": 1.0}}))
    command = [sys.executable, SCRIPT, "--part", "miou", "--repeats", "1", "--output", output]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    results = json.loads(output.read_text())
    assert results["validation"] == {"ratio": 1.0}
    found = results["miou"]
    assert set(found["milliseconds"]) == {"deformlab", "torchmetrics"}
    assert {"ratio", "limit", "machine", "revision", "versions"} <= set(found)
    assert found["largest_difference_of_iou"] < 1e-6
    assert printed.startswith("miou: deformlab")
