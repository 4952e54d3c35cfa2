"""Looks into a trained network: where its units sample, what they react to, what they predict.

Functions here compute; those of `deformlab.inspection.figures` draw what they return.
"""

from deformlab.inspection.cells import Cells, to_image
from deformlab.inspection.network import TrainedNetwork, load_network
from deformlab.inspection.page import unit_page, write_unit_page
from deformlab.inspection.passes import LayerPass, Samples, record_passes, samples_of
from deformlab.inspection.prediction import Prediction, entropy, predict
from deformlab.inspection.saliency import SaliencyRegion, saliency_region
from deformlab.inspection.sampling import SamplingLocations, sampling_locations
from deformlab.inspection.scene import Scene, read_scene
from deformlab.inspection.show import KINDS, Show
from deformlab.inspection.support import (
    EffectiveSamples,
    effective_receptive_field,
    effective_sampling_locations,
)
from deformlab.inspection.units import Unit, choose_units, unit_at
from deformlab.inspection.views import (
    cells_of,
    dilation_panels,
    offset_panel,
    sampling_panels,
    support_panels,
)

__all__ = [
    "KINDS",
    "Cells",
    "EffectiveSamples",
    "LayerPass",
    "Prediction",
    "SaliencyRegion",
    "Samples",
    "SamplingLocations",
    "Scene",
    "Show",
    "TrainedNetwork",
    "Unit",
    "cells_of",
    "choose_units",
    "dilation_panels",
    "effective_receptive_field",
    "effective_sampling_locations",
    "entropy",
    "load_network",
    "offset_panel",
    "predict",
    "read_scene",
    "record_passes",
    "saliency_region",
    "samples_of",
    "sampling_locations",
    "sampling_panels",
    "support_panels",
    "to_image",
    "unit_at",
    "unit_page",
    "write_unit_page",
]
