"""Augmentation of a batch inside the compiled step, on the uint8 images themselves; all channels of an image alike."""

from __future__ import annotations

import math

import tensorflow as tf

SHIFT = 2 / 28
"""Of the image's side, either way."""
ROTATION = math.radians(10.0)
SCALE = 0.1
SHEAR = 0.1
LEAST_AREA = 0.35
"""Share of the image that a crop keeps at least. Long trainings of large networks go down to 0.08 (Szegedy et al. 2015,
arXiv 1409.4842; the default of torchvision's RandomResizedCrop); 0.35 is that of fastai's short ImageNet trainings."""
ASPECT = 4 / 3
"""Ratio of a crop's longer side to its shorter side at most, as in Szegedy et al."""


def augment(images: tf.Tensor, kind: str, seed: tf.Tensor) -> tf.Tensor:
    """The batch, each image changed at random; uint8 (batch, side, side, channels) in and out.

    `shift` moves by up to 2 pixels in 28; `affine` also rotates by up to 10 degrees, scales each axis by up to 10 % and
    shears by up to 0.1, all uniform, bilinear, the border black. `flip` mirrors half of the images left to right. `crop`
    enlarges a part of the image, anywhere in it, of 35 to 100 % of its area and an aspect ratio of 3:4 to 4:3, back to the
    image's size, and mirrors half of them too, as is usual for photographs. `seed` is int32 (2,): the same seed, the same
    batch."""
    match kind:
        case "none":
            return images
        case "flip":
            mirrored = tf.random.stateless_uniform((images.shape[0], 1, 1, 1), seed) < 0.5
            return tf.where(mirrored, tf.reverse(images, [2]), images)
        case "crop":
            return _cropped(images, seed)
        case _:
            return _moved(images, kind, seed)


def _cropped(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    batch, side = images.shape[0], images.shape[1]
    draws = tf.random.stateless_uniform((5, batch), seed)
    area, stretch = 1.0 - draws[0] * (1.0 - LEAST_AREA), tf.pow(ASPECT, draws[1] - 0.5)
    # As shares of the image's side; a side that would be longer than the image is cut off.
    width, height = tf.minimum(tf.sqrt(area) * stretch, 1.0), tf.minimum(tf.sqrt(area) / stretch, 1.0)
    left, top = draws[2] * (1.0 - width) * side, draws[3] * (1.0 - height) * side
    mirrored, zero = draws[4] < 0.5, tf.zeros((batch,))
    # The centre of output pixel x is at (x + 0.5) / side of the crop's width, and at as much from its right if mirrored.
    rows = [
        *(tf.where(mirrored, -width, width), zero, left - 0.5 + tf.where(mirrored, (side - 0.5) * width, 0.5 * width)),
        *(zero, height, top - 0.5 + 0.5 * height),
        *(zero, zero),
    ]
    # The nearest pixel, not black, stands for the half pixel outside the image that bilinear interpolation asks for.
    return _transformed(images, rows, "BILINEAR", "NEAREST")


def _moved(images: tf.Tensor, kind: str, seed: tf.Tensor) -> tf.Tensor:
    """`shift` or `affine`."""
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
    return _transformed(images, rows, interpolation, "CONSTANT")


def _transformed(images: tf.Tensor, rows: list[tf.Tensor], interpolation: str, fill_mode: str) -> tf.Tensor:
    """The images, each by its own transform from output to input pixels; `rows`: its eight coefficients, each (batch,)."""
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack(rows, axis=1),
        output_shape=images.shape[1:3],
        fill_value=0.0,
        interpolation=interpolation,
        fill_mode=fill_mode,
    )
