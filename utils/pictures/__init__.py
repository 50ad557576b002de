"""What people look at: boxes and names on photos, sheets of faces, curves; and the prompt that asks for photos.

It may import the floors below (README.md, "Where things are") and nets/. Users get `box_folder`, `compare`,
`contact_sheet`, `draw_detections`, `side_by_side`.
"""

from utils import exports

_drawing = dict.fromkeys(("contact_sheet", "draw_detections", "side_by_side"), "drawing")
__getattr__, __dir__, __all__ = exports(__name__, {"box_folder": "boxed_photos", "compare": "comparison", **_drawing})
