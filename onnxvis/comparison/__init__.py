"""The same network twice: which input, tensor and layer of one file is which of the other, and where the two part."""
