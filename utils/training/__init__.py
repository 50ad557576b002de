"""How networks learn: trainers, tasks, phases, schedules, optimizers, callbacks, checkpoints, verification.

It may import the floors below (README.md, "Where things are") and nets/. Users get `DetectionTask`,
`RecognitionTask`, `build_optimizer`.
"""

from utils import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {"DetectionTask": "detection_task", "RecognitionTask": "recognition_task", "build_optimizer": "optimizers"},
)
