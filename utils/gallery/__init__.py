"""People who are known: their photos, names and embeddings, and who resembles them; groups of those who are not.

It may import the floors below (README.md, "Where things are") and nets/. Users get `FaceClassifier`, `FaceIndex`,
`Gallery`, `GalleryError`.
"""

from utils import exports

__getattr__, __dir__, __all__ = exports(
    __name__, {"FaceClassifier": "classifier", "FaceIndex": "index", "Gallery": "gallery", "GalleryError": "storage"}
)
