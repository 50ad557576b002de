import numpy as np
import tensorflow as tf

from nets.smooth_l1 import smooth_l1


def test_smooth_l1_by_hand():
    errors = tf.constant([[-3.0, -1.0, -0.5], [0.0, 0.2, 2.0]])
    np.testing.assert_allclose(smooth_l1(errors), [[2.5, 0.5, 0.125], [0.0, 0.02, 1.5]], rtol=1e-6)
