from pathlib import Path

from deformlab import doctor, ops
from deformlab.ops import native_status


def test_missing_operators_are_named_with_the_reason_and_the_way_out(monkeypatch):
    status = native_status()._replace(loaded=False, path=None, cuda=False, reason="no compiler was found")
    monkeypatch.setattr(ops, "native_status", lambda: status)
    text = doctor.examine().format()
    assert "none: no compiler was found" in text
    assert "pip install --no-build-isolation" in text


def test_compiled_operators_are_named_by_their_file(monkeypatch):
    status = native_status()._replace(loaded=True, path=Path("/somewhere/_C.abi3.so"), reason="")
    monkeypatch.setattr(ops, "native_status", lambda: status)
    diagnosis = doctor.examine()
    assert diagnosis.facts["native library"] == "/somewhere/_C.abi3.so"
    assert not any("reference" in sentence for sentence in diagnosis.advice)


def test_the_vector_unit_in_use_is_shown(monkeypatch):
    monkeypatch.setattr(ops, "cpu_capability", lambda: "avx2")
    assert doctor.examine().facts["operators on the CPU"].endswith("vector unit avx2")


def test_a_key_for_weights_and_biases_is_found_in_the_environment(monkeypatch):
    assert "no API key" in doctor.examine().facts["Weights & Biases"]
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert "API key found" in doctor.examine().facts["Weights & Biases"]
