"""Photos as arrays: any file read upright as RGB, resized, placed in a frame.

It may import the floors below (README.md, "Where things are") and nets/. Users get `ImageError`, `Letterbox`,
`letterbox`, `list_images`, `read_image`, `resize`, `save_image`.
"""

from utils import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "ImageError": "image_files",
        "Letterbox": "placement",
        "letterbox": "placement",
        "list_images": "image_files",
        "read_image": "image_files",
        "resize": "placement",
        "save_image": "image_files",
    },
)
