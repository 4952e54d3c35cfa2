"""What a network predicts, where it errs, and how sure it is."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deformlab.inspection.network import TrainedNetwork
from deformlab.inspection.scene import Scene
from deformlab.labels import IGNORED

__all__ = ["Prediction", "entropy", "predict"]


class Prediction(NamedTuple):
    """One image's prediction at the image's own size.

    Attributes:
        classes: Predicted class (H, W).
        entropy: Entropy of the class probabilities (H, W) in nat, from 0 to log C.
        wrong: Whether the prediction differs from the label (H, W), false where that is ignored; None without
            a label.
        accuracy: Share of labelled pixels that are right; None without one.
    """

    classes: NDArray[np.uint8]
    entropy: NDArray[np.float32]
    wrong: NDArray[np.bool_] | None
    accuracy: float | None


def entropy(probabilities: Tensor) -> Tensor:
    """Entropy in nat of class probabilities (C, ...), which sum to 1: 0 if sure, log C if not at all."""
    return torch.special.entr(probabilities).sum(0)


def predict(network: TrainedNetwork, scene: Scene) -> Prediction:
    """Looks at the image once, as it is; an evaluation over several scales may predict otherwise."""
    with torch.no_grad():
        scores = network.model(network.input(scene.image), size=scene.size)[0]
    classes = scores.argmax(0).to(torch.uint8).cpu().numpy()
    uncertainty = entropy(scores.softmax(0)).cpu().numpy()
    if scene.label is None:
        return Prediction(classes, uncertainty, None, None)
    counted = scene.label != IGNORED
    wrong = counted & (classes != scene.label)
    accuracy = 1 - float(wrong.sum() / counted.sum()) if counted.any() else None
    return Prediction(classes, uncertainty, wrong, accuracy)
