"""Training data: `tf.data` pipelines from files to augmented, normalised batches.

It may import the floors below (README.md, "Where things are") and nets/. Users get `detection_dataset`,
`recognition_dataset`.
"""

from utils import exports

__getattr__, __dir__, __all__ = exports(
    __name__, {"detection_dataset": "detection", "recognition_dataset": "recognition"}
)
