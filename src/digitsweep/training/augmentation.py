"""Augmentation of a batch inside the compiled step: one projective transform, on the uint8 images themselves."""

from __future__ import annotations

import math

import tensorflow as tf

SHIFT = 2 / 28
"""Of the image's side, either way."""
ROTATION = math.radians(10.0)
SCALE = 0.1
SHEAR = 0.1


def augment(images: tf.Tensor, kind: str, seed: tf.Tensor) -> tf.Tensor:
    """The batch, each image changed at random; uint8 (batch, side, side, 1) in and out.

    `shift` moves by up to 2 pixels in 28; `affine` also rotates by up to 10 degrees, scales each axis by up to 10 % and
    shears by up to 0.1, all uniform, bilinear, the border black. `seed` is int32 (2,): the same seed, the same batch."""
    if kind == "none":
        return images
    batch, side = images.shape[0], images.shape[1]
    draws = tf.random.stateless_uniform((6, batch), seed, -1.0, 1.0)
    shift_x, shift_y = draws[0] * (SHIFT * side), draws[1] * (SHIFT * side)
    zero, one = tf.zeros((batch,)), tf.ones((batch,))
    if kind == "shift":
        rows = [one, zero, shift_x, zero, one, shift_y, zero, zero]
        interpolation = "NEAREST"
        rows[2], rows[5] = tf.round(shift_x), tf.round(shift_y)
    else:
        angle, shear = draws[2] * ROTATION, draws[3] * SHEAR
        scale_x, scale_y = 1.0 + draws[4] * SCALE, 1.0 + draws[5] * SCALE
        cosine, sine = tf.cos(angle), tf.sin(angle)
        # Output pixel -> input pixel: scale @ rotation @ shear, about the image's centre.
        a, b = scale_x * cosine, scale_x * (shear * cosine - sine)
        c, d = scale_y * sine, scale_y * (shear * sine + cosine)
        centre = (side - 1) / 2.0
        rows = [
            *(a, b, centre - (a + b) * centre + shift_x),
            *(c, d, centre - (c + d) * centre + shift_y),
            *(zero, zero),
        ]
        interpolation = "BILINEAR"
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack(rows, axis=1),
        output_shape=[side, side],
        fill_value=0.0,
        interpolation=interpolation,
        fill_mode="CONSTANT",
    )
