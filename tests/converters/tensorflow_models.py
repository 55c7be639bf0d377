"""Make small models with TensorFlow, for the tests: `python tensorflow_models.py FOLDER`. Runs in its environment."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-not-found] # has its own environment
import keras  # type: ignore[import-not-found] # likewise
import numpy as np
import tensorflow as tf  # type: ignore[import-untyped] # likewise
from own_layers import Own, Twice  # type: ignore[import-not-found] # beside this script, when it runs as one

layers = keras.layers
SEED = 0


def picture(size: int | None = 16, name: str | None = "image") -> Any:
    """Start a network that looks at pictures, channels last."""
    return keras.Input((size, size, 3), name=name)


def classifier() -> Any:
    """What is hard to export: GELU, swish, groups, a layer used twice, default names that are prefixes of others."""
    image = picture()
    x = layers.Conv2D(8, 3, activation="relu")(image)
    x = layers.BatchNormalization()(x)
    x = layers.Conv2D(8, 3, activation="gelu")(x)
    x = layers.Conv2D(8, 3, activation="swish", padding="same")(x)
    shared = layers.Conv2D(8, 3, padding="same", name="shared")
    x = layers.Add(name="sum")([shared(x), shared(shared(x))])
    x = layers.Conv2D(8, 3, groups=2, name="grouped")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(4, activation="softmax", name="predictions")(x), name="classifier")


def normalized() -> Any:
    """A layer whose mean and variance are constants that the traced function captures."""
    image = picture()
    x = layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 3.0])(image)
    return keras.Model(image, layers.Conv2D(4, 3, activation="tanh", name="conv")(x), name="normalized")


def several() -> Any:
    """Two inputs and two outputs, whose names are not in alphabetical order."""
    signal, picked = keras.Input((8,), name="signal"), keras.Input((4,), name="picked")
    x = layers.Concatenate()([signal, picked])
    outputs = {"narrow": layers.Dense(3, name="zeta")(x), "wide": layers.Dense(5, name="alpha")(x)}
    return keras.Model({"signal": signal, "picked": picked}, outputs, name="several")


def recurrent() -> Any:
    """A GRU, which becomes a Loop."""
    steps = keras.Input((6, 5), name="steps")
    return keras.Model(steps, layers.Dense(2, name="scores")(layers.GRU(4)(steps)), name="recurrent")


def text() -> Any:
    """Tokens with attention: integers have no layout and no gradient."""
    tokens = keras.Input((12,), dtype="int32", name="tokens")
    x = layers.Embedding(20, 8, name="embedded")(tokens)
    x = layers.LayerNormalization()(layers.MultiHeadAttention(2, 4)(x, x))
    return keras.Model(tokens, layers.Dense(2, name="scores")(layers.GlobalAveragePooling1D()(x)), name="text")


def of_pictures(name: str, layer: Any, size: int | None = 16) -> Any:
    """One convolution and one layer."""
    image = picture(size)
    return keras.Model(image, layer(layers.Conv2D(4, 3, name="conv")(image)), name=name)


class Functions(tf.Module):  # type: ignore[misc] # of a module without types
    """Functions that are no Keras model."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = tf.Variable(np.random.default_rng(SEED).normal(size=(3, 3, 3, 4)).astype(np.float32))
        self.shift = tf.constant([0.1, 0.2, 0.3])

    @tf.function  # type: ignore[untyped-decorator] # likewise
    def filtered(self, image: Any, gain: Any) -> Any:
        """Convolve a picture."""
        return {
            "filtered": tf.nn.conv2d(image - self.shift, self.weights, 1, "SAME") * gain,
            "tail": tf.math.erfc(image),
        }

    @tf.function  # type: ignore[untyped-decorator] # likewise
    def unknown(self, image: Any) -> Any:
        """Compute something for which there is no conversion."""
        return tf.math.bessel_i0(image)


def save_functions(folder: Path) -> None:
    """Write a SavedModel with two signatures, and one with none."""
    module = Functions()
    image = tf.TensorSpec((None, 8, 8, 3), tf.float32, name="image")
    gain = tf.TensorSpec((), tf.float32, name="gain")
    signatures = {
        "filtered": module.filtered.get_concrete_function(image, gain),
        "unknown": module.unknown.get_concrete_function(image),
    }
    tf.saved_model.save(module, str(folder / "functions"), signatures=signatures)
    tf.saved_model.save(tf.Module(), str(folder / "empty"))


def save_lite(folder: Path) -> None:
    """Write a model for TensorFlow Lite: as it is, and quantized with a float input."""
    image = picture()
    x = layers.Conv2D(8, 3, activation="relu6")(image)
    x = layers.DepthwiseConv2D(3, padding="same")(x)
    x = layers.GlobalAveragePooling2D()(layers.MaxPooling2D()(x))
    model = keras.Model(image, layers.Dense(4, activation="softmax")(x), name="lite")
    model.export(folder / "lite", verbose=False)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "lite"))
    (folder / "float.tflite").write_bytes(converter.convert())
    generator = np.random.default_rng(SEED)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([generator.random((1, 16, 16, 3), np.float32)] for _ in range(8))
    (folder / "quantized.tflite").write_bytes(converter.convert())


def save_classifier(folder: Path) -> None:
    """Write a model as if it had been trained, in both formats, and what it predicts."""
    model = classifier()
    generator = np.random.default_rng(SEED)
    for weight in model.get_layer("batch_normalization").weights:
        weight.assign(generator.uniform(0.5, 1.5, weight.shape))
    model.save(folder / "classifier.keras")
    model.save(folder / "classifier.h5")
    images = generator.uniform(-1, 1, (3, 16, 16, 3)).astype(np.float32)
    np.savez(folder / "classifier.npz", images=images, predictions=model.predict(images, verbose=0))


def save_keras_2(path: Path) -> None:
    """Write an .h5 file with the settings that Keras 2 wrote and Keras 3 does not know."""
    image = picture()
    x = layers.DepthwiseConv2D(3, name="depthwise")(layers.SeparableConv2D(4, 3, name="separable")(image))
    x = layers.LSTM(4)(layers.Reshape((12, 48))(x))
    keras.Model(image, layers.Dense(2, name="scores")(x), name="keras_2").save(path)
    old = {
        "DepthwiseConv2D": {"groups": 1},
        "SeparableConv2D": {"groups": 1, "kernel_initializer": None, "kernel_regularizer": None},
        "LSTM": {"time_major": False},
    }
    with h5py.File(path, "r+") as file:
        model = json.loads(file.attrs["model_config"])
        for layer in model["config"]["layers"]:
            layer["config"].update(old.get(layer["class_name"], {}))
        file.attrs["model_config"] = json.dumps(model)


def main(folder: Path) -> None:
    """Write all of them."""
    keras.utils.set_random_seed(SEED)
    save_classifier(folder)
    save_keras_2(folder / "keras_2.h5")
    normalized().save(folder / "normalized.keras")
    several().save(folder / "several.keras")
    recurrent().save(folder / "recurrent.keras")
    text().save(folder / "text.keras")
    of_pictures("open", layers.ReLU(), size=None).save(folder / "open.keras")
    of_pictures("lambdas", layers.Lambda(lambda x: x * 2)).save(folder / "lambdas.keras")
    of_pictures("own", Twice(name="twice")).save(folder / "own.keras")
    subclassed = Own()
    subclassed(np.zeros((1, 8, 8, 3), np.float32))
    subclassed.save(folder / "subclassed.keras")
    subclassed.export(folder / "subclassed", verbose=False)
    save_functions(folder)
    save_lite(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
