"""`deformlab doctor`: what is installed, which operators are compiled, what will be slow and why."""

import importlib.util
import os
import shutil
from dataclasses import dataclass, field
from importlib import metadata

import torch

from deformlab import ops, provenance
from deformlab.requirements import installation_advice, missing_packages
from deformlab.wandb_account import has_api_key

__all__ = ["Diagnosis", "examine"]


@dataclass
class Diagnosis:
    """Facts about this installation, and what they mean for the user.

    Args:
        facts: Name and value, in the order to show.
        advice: One sentence each: what is missing or slow, and what to do about it.
    """

    facts: dict[str, str]
    advice: list[str] = field(default_factory=list)

    def format(self) -> str:
        """As text for a terminal."""
        width = max(len(name) for name in self.facts)
        lines = [f"{name:<{width}}  {value}" for name, value in self.facts.items()]
        if not self.advice:
            return "\n".join([*lines, "", "Nothing is missing."])
        return "\n".join([*lines, "", *(f"- {sentence}" for sentence in self.advice)])


def examine() -> Diagnosis:
    """Looks at the installation; imports no optional package and changes nothing."""
    native = ops.native_status()
    facts = {**provenance.versions(), "machine": provenance.machine()}
    advice = []

    facts["threads"] = str(torch.get_num_threads())
    capability = ops.cpu_capability()
    facts["operators on the CPU"] = ops.backend("cpu") + (f", vector unit {capability}" if capability else "")
    facts["native library"] = str(native.path) if native.loaded else f"none: {native.reason}"
    if not native.loaded:
        advice.append(
            "Deformable convolution uses the plain PyTorch reference, which is several times slower than the "
            "compiled operator. If you have a C++ compiler, compile it in the source folder: "
            "pip install --no-build-isolation --no-deps -e ."
        )
    facts["C++ compiler"] = shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++") or "none"
    facts["CUDA compiler"] = shutil.which("nvcc") or "none"
    facts["GPU"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    facts["operators on the GPU"] = ops.backend("cuda") if torch.cuda.is_available() else "no GPU"
    if torch.cuda.is_available() and not native.cuda:
        advice.append(
            f"Deformable convolution on the GPU uses the plain PyTorch reference: {native.cuda_reason}"
        )

    missing = missing_packages()
    facts["training toolkit"] = "not installed" if missing else "installed"
    if missing:
        advice.append(
            "The operators and layers work. Training, sweeps, reports and pictures need the training "
            f"toolkit, which is {installation_advice(missing)}"
        )
    elif not torch.cuda.is_available():
        advice.append(
            "There is no GPU. Small trainings such as experiments/demo.yaml and experiments/camvid.yaml take "
            "minutes to hours here, but the papers' trainings would take weeks."
        )
    facts["Weights & Biases"] = _wandb()
    if "offline" in facts["Weights & Biases"]:
        advice.append(
            "Runs are logged to Weights & Biases offline; `wandb login` stores a key for live logging."
        )
    if importlib.util.find_spec("submitit") is None:
        facts["SLURM executor"] = "not installed"
    else:
        facts["SLURM executor"] = f"submitit {metadata.version('submitit')}"
    return Diagnosis(facts, advice)


def _wandb() -> str:
    if importlib.util.find_spec("wandb") is None:
        return "not installed"
    version = metadata.version("wandb")
    if has_api_key():
        return f"{version}, API key found"
    return f"{version}, no API key: logs offline"
