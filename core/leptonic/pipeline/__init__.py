"""From a local update to integers that can be summed in any order, and back from the sum.

Both sides build the same pipeline from the experiment (:func:`pipeline_for`). The client encodes; the server adds the
encoded contributions (:meth:`Contribution.add`) and decodes the total. Sums are made in Z_2^32 for the vectors and in
Z_2^64 for the scalars, so that the result of a round does not depend on who answered first.
"""

from leptonic.pipeline.base import Occasion, Pipeline
from leptonic.pipeline.choice import pipeline_for, reference_examples
from leptonic.pipeline.client_level import ClientLevelPipeline
from leptonic.pipeline.clipped import ClippedPipeline, Release
from leptonic.pipeline.contribution import Contribution, decode_scalars, encode_scalars
from leptonic.pipeline.lattice import LatticePipeline
from leptonic.pipeline.noised import NoisedPipeline

__all__ = [
    "ClientLevelPipeline",
    "ClippedPipeline",
    "Contribution",
    "LatticePipeline",
    "NoisedPipeline",
    "Occasion",
    "Pipeline",
    "Release",
    "decode_scalars",
    "encode_scalars",
    "pipeline_for",
    "reference_examples",
]
