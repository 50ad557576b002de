"""Set before TensorFlow starts: no test touches the user's cache; replicas can be tested.

Where TensorFlow is not installed, the test files that import it are skipped: `.ci/run` tests inference so.
"""

import os
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

os.environ["FACES_CACHE"] = str(Path(__file__).parents[1] / ".pytest_cache" / "faces")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

HAS_TENSORFLOW = find_spec("tensorflow") is not None

if HAS_TENSORFLOW:
    import tensorflow as tf

    _CPU = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(_CPU, [tf.config.LogicalDeviceConfiguration()] * 2)

# Only a file that itself imports what needs TensorFlow may be skipped, not one that an inference module lets down.
_TRAINS = re.compile(
    r"^(from|import) (tensorflow|keras|sklearn|scipy|nets|tests\.(test_train|utils))|"
    r"^from utils\.(training|export|generators)",
    re.MULTILINE,
)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    missing = re.search("No module named '(tensorflow|keras|sklearn|scipy)", str(report.longrepr))
    if report.failed and missing and not HAS_TENSORFLOW and _TRAINS.search(collector.path.read_text("utf-8")):
        report.outcome, report.longrepr = "skipped", (str(collector.path), 0, f"Skipped: needs {missing[1]}")
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    error = call.excinfo.value if call.excinfo else None
    missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
    if not HAS_TENSORFLOW and missing and missing.partition(".")[0] in ("sklearn", "scipy", "matplotlib"):
        report.outcome, report.longrepr = "skipped", (str(item.path), 0, f"Skipped: needs {missing}")
    return report
