"""What runs a network: LiteRT on a CPU, TensorFlow on a GPU, in float32 or fewer bits; devices and timing.

It may import the floors below (README.md, "Where things are") and nets/. Users get `Stopwatch`, `choose_strategy`,
`compile_engine`, `device_name`.
"""

from utils import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {"Stopwatch": "stopwatch", "choose_strategy": "devices", "compile_engine": "engine", "device_name": "devices"},
)
