"""Augmentation as Keras layers: active in training only, and never part of the saved network."""

import keras
from keras import layers


def augmentation(seed: int) -> keras.Sequential:
    """Mirror, turn by up to 10°, zoom and shift by up to 5 %, brightness by up to 15 %.

    Returns
    -------
    keras.Sequential
        (N, H, W, 1) grey levels 0..255 → the same, float32; the identity outside training.
        Pixels from beyond the film are black.
    """
    outside = {"fill_mode": "constant", "fill_value": 0.0}
    return keras.Sequential(
        [
            layers.RandomFlip("horizontal", seed=seed),
            layers.RandomRotation(10 / 360, seed=seed + 1, **outside),
            layers.RandomZoom((-0.12, 0.05), seed=seed + 2, **outside),
            layers.RandomTranslation(0.05, 0.05, seed=seed + 3, **outside),
            layers.RandomBrightness(0.15, value_range=(0, 255), seed=seed + 4),
        ],
        name="augmentation",
    )
