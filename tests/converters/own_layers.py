"""Classes of one's own, for the option --custom. Runs in the environment of TensorFlow."""

from __future__ import annotations

from typing import Any

import keras  # type: ignore[import-not-found] # has its own environment


@keras.saving.register_keras_serializable("own")
class Twice(keras.layers.Layer):  # type: ignore[misc] # Keras is not there to be read
    """A layer of one's own."""

    def call(self, x: Any) -> Any:
        """Double."""
        return x * 2


@keras.saving.register_keras_serializable("own")
class Own(keras.Model):  # type: ignore[misc] # likewise
    """A model of one's own, which does not say what its inputs are."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.conv = keras.layers.Conv2D(4, 3, activation="relu", name="conv")

    def call(self, x: Any) -> Any:
        """Convolve."""
        return self.conv(x)

    def get_config(self) -> dict[str, Any]:
        """There is nothing to configure."""
        return {}
