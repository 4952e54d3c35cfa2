"""Inspects a trained network on one image: where units sample, what they react to, and what is predicted.

The functions here compute; `deformlab.inspection.figures` draws their results.
"""

import deformlab._needs_toolkit  # noqa: F401
from deformlab.inspection.network import TrainedNetwork, load_network
from deformlab.inspection.page import unit_page, write_unit_page
from deformlab.inspection.sampling import (
    LayerPass,
    Samples,
    SamplingLocations,
    record_passes,
    samples_of,
    sampling_locations,
)
from deformlab.inspection.scene import Scene, read_scene
from deformlab.inspection.show import KINDS, Show
from deformlab.inspection.support import (
    EffectiveSamples,
    SaliencyRegion,
    effective_receptive_field,
    effective_sampling_locations,
    saliency_region,
)
from deformlab.inspection.units import Cells, Unit, UnitMark, choose_units, to_image, unit_at
from deformlab.inspection.views import (
    MapPanel,
    OffsetPanel,
    Prediction,
    SamplingPanel,
    SupportPanels,
    cells_of,
    dilation_panels,
    entropy,
    offset_panel,
    predict,
    sampling_panels,
    support_panels,
)

__all__ = [
    "KINDS",
    "Cells",
    "EffectiveSamples",
    "LayerPass",
    "MapPanel",
    "OffsetPanel",
    "Prediction",
    "SaliencyRegion",
    "Samples",
    "SamplingLocations",
    "SamplingPanel",
    "Scene",
    "Show",
    "SupportPanels",
    "TrainedNetwork",
    "Unit",
    "UnitMark",
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
