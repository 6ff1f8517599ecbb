"""`colours/N`: an example of a model for geosearch, the mean colours of N × N fields of a photo."""

import numpy as np

from geosearch.features.description import Description, Source
from geosearch.features.preprocessing import Preprocessing


class Colours:
    """Embeds batches of photos. It would send them to a GPU, or load weights, in its __init__."""

    def __init__(self, fields: int, device: str) -> None:
        self.fields, self.device = fields, device

    def __call__(self, pixels):
        """Embeddings (n, D), float32, of length 1, of pixels (n, height, width, 3), uint8 RGB."""
        n, side, _, _ = pixels.shape
        width = side // self.fields
        fields = pixels.reshape(n, self.fields, width, self.fields, width, 3).mean(axis=(2, 4))
        vectors = fields.reshape(n, -1).astype(np.float32) + 1
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def source(rest: str) -> Source:
    """What the spec `colours/REST` stands for: all that shapes its embeddings, and its network."""
    fields = int(rest or 4)
    description = Description(
        name=f"colours/{fields}",
        architecture=f"colours {fields}",
        weights_source="none",
        weights_sha256="",  # of the file of weights, where there is one
        preprocessing=Preprocessing(8 * fields, 8 * fields, (0, 0, 0), (1, 1, 1)),
        pooling="own",
        dimension=3 * fields * fields,
        licence="CC0-1.0",
    )
    return Source(description, network=lambda device: Colours(fields, device))
