import subprocess
import sys

import pytest

from tests.utils.engine.small_network import check, images, network
from utils.engine import conversion
from utils.engine.litert import Interpreters


def test_importing_the_engine_is_light():
    heavy = "{'tensorflow', 'keras', 'ai_edge_litert'}"
    code = f"import sys, utils.engine.engine; sys.exit(bool({heavy} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_interpreters_are_bounded_and_the_oldest_size_goes(limit):
    model = network()
    run = Interpreters(conversion.convert(model), 1, limit)
    for side in (8, 12, 8, 16, 12, 20):
        for count in (1, 2):
            check(run, model, images(side, count))
        assert len(run._kept) <= limit
    assert list(run._kept) == [(16, 16), (12, 12), (20, 20)][3 - limit :]


def test_one_size_takes_one_interpreter(tmp_path):
    path = tmp_path / "net.tflite"
    path.write_bytes(conversion.convert(network()))
    run = Interpreters(path, 1, 2)
    path.unlink()  # another process may make room in the cache
    for count in (1, 3):
        check(run, network(), images(8, count))
