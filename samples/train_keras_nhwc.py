"""Train a Keras network on drawn textures and write it as `keras_nhwc.onnx` beside this script, channels last.

TensorFlow needs an environment of its own, without torch:

    python -m venv tensorflow
    tensorflow/bin/pip install tensorflow-cpu tf2onnx onnxruntime
    tensorflow/bin/python samples/train_keras_nhwc.py

It takes a few minutes on two cores and reads no data. Training is as in `robust.py` and `classifiers.py`, which need
torch. Each convolution of the written network holds its ReLU, as in many Keras models.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras  # type: ignore[import-not-found] # has its own environment
import numpy as np
import onnx
import onnxruntime
import tensorflow as tf  # type: ignore[import-untyped] # likewise
import tf2onnx  # type: ignore[import-not-found] # likewise
from metadata import AUTHOR, image_metadata, input_metadata
from numpy.typing import NDArray
from onnx import helper
from textures import SIZE, TEXTURES, draw_batch, draw_spoiled

OUTPUT = Path(__file__).with_name("keras_nhwc.onnx")
WIDTHS = (16, 32, 64, 80, 80)
POOLED = (0, 1, 2)  # the convolutions after which the image is halved
BLURS = 2  # averages over 3 x 3 pixels before the first convolution
STEPS, BATCH, SPOILED = 700, 48, 24
LEARNING_RATE, LABEL_SMOOTHING = 4e-3, 0.05
RADIUS = 3.0 * 255  # of the L2 ball, in the units of the input
SEED, VALIDATION_SEED = 0, 1_000_003
OPSET, IR_VERSION = 17, 8

Floats = NDArray[np.float32]


def build(*, normalized: bool) -> Any:
    """Make the network: from RGB images (N, 64, 64, 3) with values in [0, 255] to class probabilities.

    Args:
        normalized: Whether there is a batch normalization between each convolution and its ReLU, to train with, or each
            convolution holds its ReLU.
    """
    layers = keras.layers
    stack = [keras.Input((SIZE, SIZE, 3), name="image"), layers.Rescaling(1 / 127.5, offset=-1, name="rescaling")]
    stack += [layers.AveragePooling2D(3, strides=1, padding="same", name=f"blur{index + 1}") for index in range(BLURS)]
    for index, width in enumerate(WIDTHS):
        activation = None if normalized else "relu"
        kernel = 5 if index == 0 else 3
        stack.append(layers.Conv2D(width, kernel, padding="same", activation=activation, name=f"conv{index + 1}"))
        if normalized:
            stack.append(layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"norm{index + 1}"))
            stack.append(layers.ReLU(name=f"relu{index + 1}"))
        if index in POOLED:
            stack.append(layers.AveragePooling2D(2, name=f"pool{index + 1}"))
    stack.append(layers.GlobalAveragePooling2D(name="average"))
    stack.append(layers.Dense(len(TEXTURES), activation="softmax", name="predictions"))
    return keras.Sequential(stack, name="textures")


def fold(trained: Any) -> Any:
    """Put each batch normalization into the convolution before it."""
    folded = build(normalized=False)
    for index in range(len(WIDTHS)):
        kernel, bias = trained.get_layer(f"conv{index + 1}").get_weights()
        norm = trained.get_layer(f"norm{index + 1}")
        gamma, beta, mean, variance = norm.get_weights()
        factor = gamma / np.sqrt(variance + norm.epsilon)
        folded.get_layer(f"conv{index + 1}").set_weights([kernel * factor, (bias - mean) * factor + beta])
    folded.get_layer("predictions").set_weights(trained.get_layer("predictions").get_weights())
    return folded


def channels_last(images: Floats) -> Floats:
    """Turn images in [0, 1] into the network's input: (N, 3, H, W) -> (N, H, W, 3) in [0, 255]."""
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1) * 255)


def drawings(seed: int, index: int, count: int) -> tuple[Floats, NDArray[np.int64]]:
    """Draw inputs and their classes, the same ones for the same seed and index."""
    images, labels = draw_batch(np.random.default_rng([seed, index]), count)
    return channels_last(images), labels


def training_batch(index: int) -> tuple[Floats, Floats]:
    """Draw textures and spoiled drawings, and the class probabilities (N, classes) that they should get."""
    images, labels = drawings(SEED, index, BATCH)
    spoiled = channels_last(draw_spoiled(np.random.default_rng([SEED, index, 1]), SPOILED))
    classes = len(TEXTURES)
    undecided = np.full((SPOILED, classes), 1 / classes)
    targets = np.concatenate([np.eye(classes)[labels], undecided])
    return np.concatenate([images, spoiled]), targets.astype(np.float32)


def attack(network: Any, images: Any, targets: Any, radius: Any, *, training: bool = False) -> Any:
    """Find images within an L2 `radius`, values in [0, 255], on which the loss is larger: one gradient step."""
    with tf.GradientTape() as tape:
        tape.watch(images)
        loss = keras.losses.CategoricalCrossentropy(reduction="sum")(targets, network(images, training=training))
    gradient = tape.gradient(loss, images)
    length = tf.sqrt(tf.reduce_sum(gradient**2, axis=(1, 2, 3), keepdims=True))
    return tf.clip_by_value(images + radius * gradient / tf.maximum(length, 1e-12), 0.0, 255.0)


def training_step(network: Any, optimizer: Any) -> Any:
    """Make the function that does one step on adversarial examples and returns the loss."""
    error = keras.losses.CategoricalCrossentropy(label_smoothing=LABEL_SMOOTHING)

    @tf.function  # type: ignore[untyped-decorator] # TensorFlow is not there to be read
    def step(images: Any, targets: Any, radius: Any) -> Any:
        attacked = attack(network, images, targets, radius, training=True)
        with tf.GradientTape() as tape:
            loss = error(targets, network(attacked, training=True))
        weights = network.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return loss

    return step


def train() -> Any:
    """Train a network from scratch, on adversarial examples only."""
    keras.utils.set_random_seed(SEED)
    tf.config.experimental.enable_op_determinism()
    network = build(normalized=True)
    rates = keras.optimizers.schedules.CosineDecay(
        0.0, STEPS * 7 // 10, warmup_target=LEARNING_RATE, warmup_steps=STEPS * 3 // 10
    )
    step = training_step(network, keras.optimizers.AdamW(rates, weight_decay=2e-2))
    for index in range(1, STEPS + 1):
        images, targets = training_batch(index)
        radius = RADIUS * min(1.0, 2 * index / STEPS)
        loss = step(*(tf.constant(value, tf.float32) for value in (images, targets, radius)))
        if index % 50 == 0:
            print(f"step {index:4d}  loss {float(loss):.3f}", flush=True)
    return fold(network)


def accuracies(network: Any) -> tuple[float, float]:
    """Measure the accuracy on 1024 new drawings, as they are and under attack."""
    right = attacked_right = total = 0
    for index in range(16):
        images, labels = drawings(VALIDATION_SEED, index, 64)
        targets = np.eye(len(TEXTURES), dtype=np.float32)[labels]
        attacked = attack(network, tf.constant(images), targets, RADIUS)
        right += int((network(images).numpy().argmax(1) == labels).sum())
        attacked_right += int((network(attacked).numpy().argmax(1) == labels).sum())
        total += len(labels)
    return right / total, attacked_right / total


def named_layers(network: Any, image: Any) -> dict[str, Any]:
    """Run the network so that each operator bears its layer's name: Keras 3 itself would call `conv1` `conv1_1`."""
    x = image
    for layer in network.layers:
        with tf.name_scope(layer.name):
            x = layer.call(x)
    return {"probabilities": x}


def to_onnx(network: Any) -> onnx.ModelProto:
    """Convert the network, weights and all, and let the file say what it means."""
    # Not from_keras, which looks in Keras 3 for output names that are no longer there.
    signature = [tf.TensorSpec((None, SIZE, SIZE, 3), tf.float32, name="image")]
    predict = tf.function(lambda image: named_layers(network, image), input_signature=signature)
    model, _ = tf2onnx.convert.from_function(predict, signature, opset=OPSET)
    model.ir_version = IR_VERSION
    model.doc_string = f"Tells {len(TEXTURES)} drawn textures apart."
    meaning = input_metadata(bounds=(0, 255), mean=0.0, std=1.0, channels=3, layout="NHWC", labels=list(TEXTURES))
    helper.set_model_props(model, image_metadata("Rgb8", "NominalRange_0_255") | meaning | AUTHOR)
    onnx.checker.check_model(model, full_check=True)
    converted: onnx.ModelProto = model
    return converted


def parity(path: Path, network: Any) -> float:
    """Compare onnxruntime on the written file with Keras: the largest error of a probability."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    images, _ = drawings(VALIDATION_SEED, 0, 64)
    (found,) = session.run(None, {"image": images})
    return float(np.abs(found - network(images).numpy()).max())


def main() -> None:
    """Train, measure, write, and compare what was written."""
    network = train()
    clean, robust = accuracies(network)
    print(f"validation accuracy {clean:.1%}, within an L2 distance of {RADIUS:g}: {robust:.1%}")
    onnx.save(to_onnx(network), OUTPUT)
    print(f"{OUTPUT.name}: {OUTPUT.stat().st_size / 1000:.0f} KB")
    print(f"onnxruntime against Keras: max abs error {parity(OUTPUT, network):.1e}")


if __name__ == "__main__":
    main()
