"""Sets of photos: folders and lists of people, labels, screening, crops, splits, the report.

It may import the floors below (README.md, "Where things are") and nets/. Users get `CropRules`, `list_folders`,
`read_cls_txt`, `read_wider_labels`, `split_by_identity`, `split_by_image`, `write_cls_txt`, `write_wider_labels`.
"""

from utils import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "CropRules": "crop_rules",
        "list_folders": "folders",
        "read_cls_txt": "cls_list",
        "read_wider_labels": "wider_labels",
        "split_by_identity": "splits",
        "split_by_image": "splits",
        "write_cls_txt": "cls_list",
        "write_wider_labels": "wider_labels",
    },
)
