from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxvis import protofile
from onnxvis.errors import ExternalDataError, InvalidModelError, ModelFileError
from onnxvis.model import load
from onnxvis.protofile import checksum_of, read
from onnxvis.stored import StoredTensor
from onnxvis.verify import verify
from tests.models import parsed

TEXT = """
<ir_version: 8, opset_import: ["": 17]>
net (float[1, 200] x) => (float[1, 200] y)
{ h = MatMul (x, w)  a = Add (h, b)  y = Cast <to = 1> (a) }
"""


@pytest.fixture(autouse=True)
def _small_files_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protofile, "LARGE_FILE", 1)


def net() -> onnx.ModelProto:
    draw = np.random.default_rng(0)
    return parsed(TEXT, w=draw.standard_normal((200, 200), np.float32), b=draw.standard_normal(200, np.float32))


def written(folder: Path, content: bytes) -> Path:
    path = folder / "net.onnx"
    path.write_bytes(content)
    return path


def test_large_weights_stay_in_a_large_file(tmp_path: Path) -> None:
    proto = net()
    path = written(tmp_path, proto.SerializeToString())
    content = read(path)
    assert list(content.regions) == ["w"]
    assert content.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    region = content.regions["w"]
    assert region.mapped().tobytes() == proto.graph.initializer[0].raw_data
    proto.graph.initializer[0].ClearField("raw_data")
    assert content.proto == proto


def test_a_large_file_is_the_same_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, net().SerializeToString())
    large = load(path)
    assert isinstance(large.values["w"].const_value, StoredTensor)
    assert verify(large).ok
    monkeypatch.undo()
    small = load(path)
    assert not isinstance(small.values["w"].const_value, StoredTensor)
    assert (small.sha256, small.nodes, small.tensors) == (large.sha256, large.nodes, large.tensors)
    first, second = small.values["w"].const_value, large.values["w"].const_value
    assert first is not None
    assert second is not None
    np.testing.assert_array_equal(first.numpy(), second.numpy())


def test_messages_that_follow_one_another_are_one_model(tmp_path: Path) -> None:
    proto = net()
    weights = onnx.ModelProto()
    weights.graph.initializer.extend(proto.graph.initializer)
    del proto.graph.initializer[:]
    path = written(tmp_path, proto.SerializeToString() + weights.SerializeToString())
    assert list(read(path).regions) == ["w"]
    assert verify(path).ok


def test_of_values_that_are_given_twice_the_last_count_as_in_every_protocol_buffer(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.zeros((200, 200), np.float32), "w").SerializeToString()
    ones = onnx.TensorProto(raw_data=np.ones((200, 200), np.float32).tobytes()).SerializeToString()
    outer = onnx.TensorProto.FromString(weight + ones)
    content = protofile._delimited(7, protofile._delimited(5, weight + ones))
    region = read(written(tmp_path, content)).regions["w"]
    assert region.mapped().tobytes() == outer.raw_data


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int64])
def test_weights_of_any_type_are_found_where_they_are(dtype: Any, tmp_path: Path) -> None:
    array: np.ndarray[Any, Any] = np.arange(40_000).reshape(200, 200).astype(dtype)
    proto = parsed(TEXT, w=array, b=np.zeros(200, np.float32))
    found = load(written(tmp_path, proto.SerializeToString())).values["w"].const_value
    assert isinstance(found, StoredTensor)
    assert found.numpy().dtype == dtype
    np.testing.assert_array_equal(found.numpy(), array)


def test_every_cut_of_a_large_file_is_told_as_of_a_small_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = net().SerializeToString()
    for end in [1, 2, 30, 300, 100_000, len(content) - 1]:
        path = written(tmp_path, content[:end])
        messages = []
        for limit in (1, 1 << 40):
            monkeypatch.setattr(protofile, "LARGE_FILE", limit)
            with pytest.raises((ModelFileError, InvalidModelError)) as caught:
                load(path)
            messages.append(caught.value.message)
        assert messages[0] == messages[1]


def test_a_file_of_too_many_fields_is_parsed_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, net().SerializeToString())
    monkeypatch.setattr(protofile, "_MOST_FIELDS", 3)
    assert read(path).regions == {}
    assert verify(path).ok


def test_a_weight_that_does_not_fit_its_shape_is_refused(tmp_path: Path) -> None:
    proto = net()
    proto.graph.initializer[0].dims[0] = 201
    with pytest.raises(InvalidModelError, match=r"'w' of shape \(201, 200\)"):
        load(written(tmp_path, proto.SerializeToString()))


def test_a_file_that_has_been_written_since_is_told(tmp_path: Path) -> None:
    path = written(tmp_path, net().SerializeToString())
    model = load(path)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ExternalDataError, match="Load the model again"):
        verify(model)
    path.unlink()
    with pytest.raises(ExternalDataError, match="removed"):
        verify(model)


def test_a_model_too_large_for_a_protocol_buffer_wants_its_path() -> None:

    def refuse(**_: object) -> bytes:
        message = "exceeds maximum protobuf size of 2GB"
        raise ValueError(message)

    class Proto:
        SerializeToString = staticmethod(refuse)

    with pytest.raises(ModelFileError, match="Give the path"):
        checksum_of(Proto())  # type: ignore[arg-type] # two gigabytes are too many for a test
