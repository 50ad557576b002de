import numpy as np

from utils.training.callbacks import loss_curves, read_losses


def test_loss_curves_are_the_losses_of_the_epochs(tmp_path):
    (tmp_path / "losses.csv").write_text("epoch,loss,accuracy,val_loss\n1,3.5,0.1,\n2,2.5,0.2,4\n")
    curves = loss_curves(read_losses(tmp_path))
    assert curves["loss"] == [3.5, 2.5]
    np.testing.assert_array_equal(curves["val_loss"], [np.nan, 4.0])
    assert set(curves) == {"loss", "val_loss"}


def test_no_losses_yet(tmp_path):
    assert read_losses(tmp_path) == []
