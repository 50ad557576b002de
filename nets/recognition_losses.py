"""Losses of the recognition networks: pure functions on tensors, computed in float32.

Embeddings are (B, D), labels (B,) integers, logits and cosines (B, C), in any float type; a loss
is a float32 scalar. An empty batch costs 0, so a replica that gets no images does no harm; only the
miners of triplets need one image at least.
"""

import math

import tensorflow as tf

from nets.smooth_l1 import smooth_l1

PRELOGITS_EPSILON = 1e-4  # added to each absolute value, as in FaceNet in TensorFlow
DISTANCE_EPSILON = 1e-12  # inside a square root, whose slope at 0 is infinite
NORM_EPSILON = 1e-6  # floor of a squared norm; its inverse root, times a scale of 64, fits float16


def _float32(*tensors: tf.Tensor) -> tuple[tf.Tensor, ...]:
    return tuple(tf.cast(tensor, tf.float32) for tensor in tensors)


def _mean_over(total: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Returns a float32 sum divided by an integer count; 0, not NaN, where there is nothing."""
    return total / tf.cast(tf.maximum(count, 1), tf.float32)


def _mean(values: tf.Tensor) -> tf.Tensor:
    return _mean_over(tf.reduce_sum(values), tf.size(values))


def _squared_distance(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.square(a - b), axis=-1)


def _distance(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Returns the Euclidean distance, whose gradient at identical rows is 0."""
    return tf.sqrt(_squared_distance(a, b) + DISTANCE_EPSILON)


def _pairwise_squared_distances(embeddings: tf.Tensor) -> tf.Tensor:
    """Returns (B, B), by one matrix product; rounding leaves about 1e-7 where it should be 0."""
    squares = tf.reduce_sum(tf.square(embeddings), axis=1)
    products = tf.matmul(embeddings, embeddings, transpose_b=True)
    return tf.maximum(squares[:, None] + squares[None, :] - 2.0 * products, 0.0)


def _pair_masks(labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns which pairs of rows are positives (same label, two images) and which negatives."""
    labels = tf.cast(labels, tf.int32)
    same = labels[:, None] == labels[None, :]
    itself = tf.eye(tf.shape(labels)[0], dtype=tf.bool)
    return same & ~itself, ~same


def split_triplets(embeddings: tf.Tensor) -> list[tf.Tensor]:
    """Returns the parts of a batch laid out [N anchors; N positives; N negatives], as in Keras FaceNet.

    Args:
        embeddings: (3N, D).

    Returns:
        Anchors, positives and negatives, (N, D) each.

    Raises:
        ValueError: the number of rows is known and is not a multiple of three.
    """
    rows = embeddings.shape[0]
    if rows is not None and rows % 3:
        raise ValueError(f"a batch of {rows} rows is no triplets; make its size a multiple of 3")
    return tf.split(embeddings, 3, axis=0)


def triplet_loss(anchor: tf.Tensor, positive: tf.Tensor, negative: tf.Tensor, alpha: float = 0.2) -> tf.Tensor:
    """Returns the mean of max(d(a, p) - d(a, n) + alpha, 0) over the triplets that cost anything.

    d is the Euclidean distance, as in Keras FaceNet; Schroff et al. (2015, eq. 3) and FaceNet in
    TensorFlow square it, as `triplet_semihard` does.

    Args:
        anchor: (N, D), L2-normalised, as are the others.
        positive: (N, D), other images of the same people.
        negative: (N, D), images of other people.
        alpha: margin, in units of the distance.

    Returns:
        The loss, a float32 scalar; 0 when no triplet violates the margin.
    """
    anchor, positive, negative = _float32(anchor, positive, negative)
    hinge = tf.nn.relu(_distance(anchor, positive) - _distance(anchor, negative) + alpha)
    return _mean_over(tf.reduce_sum(hinge), tf.math.count_nonzero(hinge))


def triplet_semihard(embeddings: tf.Tensor, labels: tf.Tensor, alpha: float = 0.2) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the triplet loss of every pair of one person with a semi-hard negative (Schroff et al., 2015).

    A pair (a, p) gets the nearest negative that is strictly farther from a than p is; when none
    is, the farthest negative, the mildest of those that are too near. Distances are squared, as in
    the paper. The mean is over the triplets that cost anything; FaceNet in TensorFlow, too, trains
    on such triplets alone. Takes O(B^2) memory: negatives are sorted once an anchor.

    Args:
        embeddings: (B, D), L2-normalised, P people x K images in any order; B >= 1.
        labels: (B,) integers.
        alpha: margin, in units of squared distance.

    Returns:
        The loss, a float32 scalar, 0 when there is no such triplet; and how many triplets cost
        anything, an int32 scalar.
    """
    (embeddings,) = _float32(embeddings)
    positives, negatives = _pair_masks(labels)
    distances = _pairwise_squared_distances(embeddings)
    fixed = tf.stop_gradient(distances)
    negative_distances = tf.where(negatives, fixed, math.inf)
    by_distance = tf.argsort(negative_distances, axis=1)
    ascending = tf.gather(negative_distances, by_distance, batch_dims=1)
    farther = tf.searchsorted(ascending, fixed, side="right")
    last = tf.math.count_nonzero(negatives, axis=1, keepdims=True, dtype=tf.int32) - 1
    rank = tf.maximum(tf.minimum(farther, last), 0)
    negative = tf.gather(by_distance, rank, batch_dims=1)
    hinge = tf.nn.relu(distances - tf.gather(distances, negative, batch_dims=1) + alpha)
    hinge = tf.where(positives & (last >= 0), hinge, 0.0)
    active = tf.math.count_nonzero(hinge, dtype=tf.int32)
    return _mean_over(tf.reduce_sum(hinge), active), active


def triplet_batch_hard(embeddings: tf.Tensor, labels: tf.Tensor, alpha: float = 0.2) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the triplet loss of images with farthest positive and nearest negative (Hermans, 2017).

    Distances are Euclidean, as the paper advises. The mean is over the anchors that have both a
    positive and a negative in the batch (eq. 5).

    Args:
        embeddings: (B, D), P people x K images in any order; B >= 1.
        labels: (B,) integers.
        alpha: margin, in units of distance.

    Returns:
        The loss, a float32 scalar, 0 when there is no such anchor; and how many triplets cost
        anything, an int32 scalar.
    """
    (embeddings,) = _float32(embeddings)
    positives, negatives = _pair_masks(labels)
    distances = tf.stop_gradient(_pairwise_squared_distances(embeddings))
    positive = tf.argmax(tf.where(positives, distances, -1.0), axis=1)
    negative = tf.argmin(tf.where(negatives, distances, math.inf), axis=1)
    # Distances of the pairs found are taken afresh: the matrix above rounds too much for a root.
    gap = _distance(embeddings, tf.gather(embeddings, positive)) - _distance(
        embeddings, tf.gather(embeddings, negative)
    )
    valid = tf.reduce_any(positives, axis=1) & tf.reduce_any(negatives, axis=1)
    cost = tf.where(valid, tf.nn.relu(gap + alpha), 0.0)
    active = tf.math.count_nonzero(cost, dtype=tf.int32)
    return _mean_over(tf.reduce_sum(cost), tf.math.count_nonzero(valid)), active


def softmax_cross_entropy(logits: tf.Tensor, labels: tf.Tensor, label_smoothing: float = 0.0) -> tf.Tensor:
    """Returns the mean cross entropy of softmax(logits) with the labels, optionally smoothed.

    A smoothing of s moves s of the probability of the label evenly to all C classes (Szegedy et
    al., 2016): loss = CE + s (z_label - mean z), which needs no one-hot matrix.

    Args:
        logits: (B, C), before softmax.
        labels: (B,) integers in [0, C).
        label_smoothing: s in [0, 1).

    Returns:
        The loss, a float32 scalar.
    """
    (logits,) = _float32(logits)
    cost = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    if label_smoothing:
        target = tf.gather(logits, labels, batch_dims=1)
        cost += label_smoothing * (target - tf.reduce_mean(logits, axis=1))
    return _mean(cost)


def center_loss(embeddings: tf.Tensor, labels: tf.Tensor, centers: tf.Tensor) -> tf.Tensor:
    """Returns half the squared distance of an embedding to its class centre (Wen et al., 2016, eq. 2).

    The paper sums over the batch; this is the mean, so the factor does not depend on its size.
    FaceNet in TensorFlow averages over the D dimensions too: its factor is D / 2 times this one's.

    Args:
        embeddings: (B, D), before or after L2, as the centres are.
        labels: (B,) integers in [0, C).
        centers: (C, D), constants to the gradient: `center_update` moves them.

    Returns:
        The loss, a float32 scalar.
    """
    embeddings, centers = _float32(embeddings, centers)
    own = tf.stop_gradient(tf.gather(centers, labels))
    return 0.5 * _mean(_squared_distance(embeddings, own))


def center_update(centers: tf.Tensor, embeddings: tf.Tensor, labels: tf.Tensor, rate: float = 0.5) -> tf.Tensor:
    """Returns centres moved towards a batch's embeddings of their class (Wen et al., 2016, eq. 4).

    c_j += rate * sum(x_i - c_j) / (1 + n_j) over the n_j rows of class j; other centres stay.
    FaceNet in TensorFlow leaves out the division and sets what is kept, not what is moved: its
    center_loss_alfa of 0.95 is a rate of 0.05 (1 + n_j) here, 0.1 for one image a class.

    Args:
        centers: (C, D).
        embeddings: (B, D).
        labels: (B,) integers in [0, C); repeats are fine.
        rate: the alpha of the paper, in [0, 1].

    Returns:
        The new centres, (C, D) float32, without gradient.
    """
    centers, embeddings = _float32(centers, embeddings)
    labels = tf.cast(labels, tf.int32)
    ones = tf.ones_like(labels, tf.float32)
    counts = tf.math.unsorted_segment_sum(ones, labels, tf.shape(centers)[0])
    shares = rate / (1.0 + tf.gather(counts, labels))
    steps = shares[:, None] * (embeddings - tf.gather(centers, labels))
    return tf.stop_gradient(tf.tensor_scatter_nd_add(centers, labels[:, None], steps))


def prelogits_norm(prelogits: tf.Tensor) -> tf.Tensor:
    """Returns the mean 1-norm of embeddings before L2: FaceNet in TensorFlow's prelogits-norm loss.

    Args:
        prelogits: (B, D).

    Returns:
        The loss, a float32 scalar.
    """
    (prelogits,) = _float32(prelogits)
    return _mean(tf.reduce_sum(tf.abs(prelogits) + PRELOGITS_EPSILON, axis=1))


def _add_to_target(cosine: tf.Tensor, labels: tf.Tensor, change: tf.Tensor) -> tf.Tensor:
    """Returns cosines with (B,) changes added to the label's column of each row of (B, C)."""
    labels = tf.cast(labels, tf.int32)
    targets = tf.stack([tf.range(tf.shape(labels)[0]), labels], axis=1)
    return tf.tensor_scatter_nd_add(cosine, targets, change)


def arcface_logits(cosine: tf.Tensor, labels: tf.Tensor, margin: float = 0.5, scale: float = 64.0) -> tf.Tensor:
    """Returns logits with an angular margin: scale * cos(angle + margin) for the label's class.

    Deng et al. (2019). Beyond an angle of pi - margin the cosine would rise again; there the
    target is cos - margin * sin(margin), which keeps falling. Other classes keep scale * cos.

    Args:
        cosine: (B, C) cosines of embeddings with class weights, in [-1, 1].
        labels: (B,) integers in [0, C).
        margin: radians, in [0, pi / 2].
        scale: 64 in the paper, 32 in Keras ArcFace.

    Returns:
        (B, C) float32 logits for `softmax_cross_entropy`.
    """
    (cosine,) = _float32(cosine)
    target = tf.gather(cosine, labels, batch_dims=1)
    sine = tf.sqrt(tf.maximum(1.0 - tf.square(target), DISTANCE_EPSILON))
    wider = target * math.cos(margin) - sine * math.sin(margin)
    beyond = target <= math.cos(math.pi - margin)
    with_margin = tf.where(beyond, target - margin * math.sin(margin), wider)
    return scale * _add_to_target(cosine, labels, with_margin - target)


def cosface_logits(cosine: tf.Tensor, labels: tf.Tensor, margin: float = 0.35, scale: float = 64.0) -> tf.Tensor:
    """Returns logits with a cosine margin: scale * (cos - margin) for the label's class.

    Wang et al. (2018, CosFace).

    Args:
        cosine: (B, C) cosines of embeddings with class weights, in [-1, 1].
        labels: (B,) integers in [0, C).
        margin: taken off the cosine of the label's class.
        scale: factor of all cosines.

    Returns:
        (B, C) float32 logits for `softmax_cross_entropy`.
    """
    (cosine,) = _float32(cosine)
    change = tf.fill(tf.shape(cosine)[:1], -float(margin))
    return scale * _add_to_target(cosine, labels, change)


def embedding_distance(student: tf.Tensor, teacher: tf.Tensor) -> tf.Tensor:
    """Returns the mean squared distance of the L2-normalised embeddings of two networks, 2 - 2 cos.

    Args:
        student: (B, D), normalised here.
        teacher: (B, D), normalised here; a constant to the gradient.

    Returns:
        The loss, a float32 scalar in [0, 4].
    """
    student, teacher = (
        tf.math.l2_normalize(embeddings, axis=1, epsilon=NORM_EPSILON) for embeddings in _float32(student, teacher)
    )
    return _mean(_squared_distance(student, tf.stop_gradient(teacher)))


def _relative_distances(embeddings: tf.Tensor) -> tf.Tensor:
    """Returns the Euclidean distances of all pairs divided by their mean, (B, B), zero on the diagonal."""
    squared = _pairwise_squared_distances(embeddings)
    pairs = ~tf.eye(tf.shape(embeddings)[0], dtype=tf.bool)
    distances = tf.where(pairs, tf.sqrt(tf.maximum(squared, DISTANCE_EPSILON)), 0.0)
    mean = _mean_over(tf.reduce_sum(distances), tf.math.count_nonzero(pairs))
    return distances / tf.maximum(mean, math.sqrt(NORM_EPSILON))


def relational_distance(student: tf.Tensor, teacher: tf.Tensor) -> tf.Tensor:
    """Returns the smooth L1 loss between the networks' distance matrices (Park et al., 2019, RKD-D).

    Each matrix is divided by its mean distance, so the embeddings may differ in scale and size.

    Args:
        student: (B, D).
        teacher: (B, E); a constant to the gradient.

    Returns:
        The loss over all pairs of two images, a float32 scalar; 0 for a batch of one.
    """
    student, teacher = _float32(student, teacher)
    target = tf.stop_gradient(_relative_distances(teacher))
    costs = smooth_l1(_relative_distances(student) - target)
    batch = tf.shape(student)[0]
    return _mean_over(tf.reduce_sum(costs), batch * (batch - 1))
