import pytest
import torch

from onnxvis import load, memory
from onnxvis.lower import lower
from onnxvis.memory import batch_size, bytes_of, free_bytes
from tests.models import conv_net

CPU = torch.device("cpu")


def test_the_estimate_counts_every_tensor_of_the_way() -> None:
    small = lower(load(conv_net()), ["relu1"], (1, 3, 16, 16))
    # image, conv1 and relu1: float32, four times
    assert bytes_of(small) == (3 + 4 + 4) * 256 * 4 * 4
    assert bytes_of(lower(load(conv_net()), ["logits"], (1, 3, 16, 16))) > bytes_of(small)


def test_a_batch_is_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    network = lower(load(conv_net()), ["relu1"], (1, 3, 16, 16))
    need = bytes_of(network)
    for free, wanted, expected in (
        (2 * 5 * need, 100, 5),
        (2 * 5 * need, 3, 3),
        (need, 100, 1),
        (0, 100, 1),
        (2 * 1000 * need, 100, memory.MOST_ON_CPU),
    ):
        monkeypatch.setattr(memory, "free_bytes", lambda _, free=free: free)
        assert batch_size(network, CPU, wanted) == expected


def test_free_memory_is_found() -> None:
    assert 1 << 26 < free_bytes(CPU) < 1 << 46
