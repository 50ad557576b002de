"""How faces are found: anchors, box coding, matching, suppression, MTCNN, several scales.

It may import the floors below (README.md, "Where things are") and nets/. Users get `Anchors`, `Mtcnn`,
`decode_boxes`, `encode_boxes`, `match`.
"""

from utils import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "Anchors": "anchors",
        "Mtcnn": "mtcnn",
        "decode_boxes": "box_coding",
        "encode_boxes": "box_coding",
        "match": "matching",
    },
)
