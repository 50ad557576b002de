import subprocess
import sys
from pathlib import Path

from utils import config


def test_detector_configurations():
    differ = {key for key in config.cfg_mnet if config.cfg_mnet[key] != config.cfg_re50[key]}
    assert differ == {"name", "out_channels", "leaky"}
    assert (config.cfg_mnet["out_channels"], config.cfg_re50["out_channels"]) == (64, 256)
    assert config.cfg_mnet["steps"] == [8, 16, 32]


def test_importing_needs_no_tensorflow():
    code = "import sys, utils.config; sys.exit('tensorflow' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
