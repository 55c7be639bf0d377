from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxvis.errors import ExternalDataError, InvalidModelError, ModelFileError, OnnxvisError, UnknownSizeError
from onnxvis.model import load
from onnxvis.verify import verify
from tests.models import conv_net, parsed

HEADER = '<ir_version: 8, opset_import: ["": 17]>'
RELU = HEADER + " g (float[1, 3] x) => (float[1, 3] y) { y = Relu (x) }"
WEIGHT = np.arange(300, dtype=np.float32).reshape(3, 100)


def external(array: np.ndarray[Any, Any], **entries: str) -> TensorProto:
    """A tensor whose data lie in a file beside the model."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=array.shape, data_location=TensorProto.EXTERNAL)
    for key, value in ({"location": "w.bin"} | entries).items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def with_external(folder: Path, tensor: TensorProto) -> Path:
    """Write a model that adds an external weight, and the weight's file."""
    proto = onnx.parser.parse_model(HEADER + " g (float[3, 100] x) => (float[3, 100] y) { y = Add (x, w) }")
    proto.graph.initializer.append(tensor)
    (folder / "w.bin").write_bytes(WEIGHT.tobytes())
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def test_a_path_bytes_and_a_proto_give_the_same_model(tmp_path: Path) -> None:
    proto = conv_net()
    content = proto.SerializeToString(deterministic=True)
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    models = [load(path), load(str(path)), load(content), load(proto)]
    assert {model.sha256 for model in models} == {hashlib.sha256(content).hexdigest()}
    assert [model.name for model in models] == ["net.onnx", "net.onnx", "the model", "the model"]
    assert all(model.nodes == models[0].nodes for model in models)
    assert load(models[0]) is models[0]


def test_a_model_says_what_goes_in_and_out() -> None:
    model = load(conv_net())
    assert str(model).splitlines() == [
        "the model: opset 17, 9 nodes, by unknown",
        "  input   image (N, 3, 16, 16) float",
        "  output  probabilities (N, 5) float",
    ]
    assert [(node.name, node.filters) for node in model.nodes][:2] == [("conv1", 4), ("relu1", 4)]


@pytest.mark.parametrize("path", ["missing.onnx", "no/such/folder.onnx", ".", "", "null\0byte.onnx", "long" * 1000])
def test_what_cannot_be_read_is_a_model_file_error(path: str, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="path"):
        load(tmp_path / path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "holds no graph"),
        (b"<!DOCTYPE html><html></html>", "not an ONNX file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "not an ONNX"),
        (b"PK\x03\x04" + b"0" * 50, "not an ONNX file"),
        (np.random.default_rng(0).bytes(1000), "not an ONNX file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 1\n", "git lfs pull"),
        (conv_net().SerializeToString()[:-100], "truncated"),
    ],
)
def test_what_is_not_onnx_is_a_model_file_error(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.onnx"
    path.write_bytes(content)
    for source in (path, content):
        with pytest.raises(ModelFileError, match=reason):
            load(source)


def test_an_empty_proto_holds_no_graph() -> None:
    with pytest.raises(ModelFileError, match="holds no graph"):
        load(onnx.ModelProto())


@pytest.mark.parametrize("name", ["cls_mnist_cntk_opset8", "face_yunet_n_dynamic", "audio_gtcrn_simple"])
def test_a_file_cut_anywhere_is_never_another_error(name: str, shared_models: Path) -> None:
    content = (shared_models / f"{name}.onnx").read_bytes()
    cuts = np.random.default_rng(0).integers(len(content), size=40)
    for cut in [*cuts, 1, 2, 10, len(content) - 1]:
        with pytest.raises(OnnxvisError):
            load(content[:cut])


def test_a_damaged_file_is_never_another_error(shared_models: Path, capfd: pytest.CaptureFixture[str]) -> None:
    content = (shared_models / "cls_mnist_cntk_opset8.onnx").read_bytes()
    draw = np.random.default_rng(0)
    refused = 0
    for _ in range(60):
        damaged = bytearray(content)
        for _ in range(3):
            damaged[draw.integers(4000)] = draw.integers(256)
        try:
            assert str(load(bytes(damaged)).nodes)
        except OnnxvisError:
            refused += 1
    assert refused > 30
    assert capfd.readouterr() == ("", "")


def test_no_operator_set_is_refused() -> None:
    proto = onnx.parser.parse_model(RELU)
    del proto.opset_import[:]
    with pytest.raises(InvalidModelError, match="imports no operator set"):
        load(proto)


def test_a_real_file_without_operator_set_is_refused(shared_models: Path) -> None:
    with pytest.raises(InvalidModelError, match=r"neg_mnist_cntk_noopset\.onnx imports no operator set"):
        load(shared_models / "neg_mnist_cntk_noopset.onnx")


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ("a = Add (x, b)  b = Relu (a)  y = Relu (b)", "cycle"),
        ("y = Relu (x)  y = Relu (x)", "'y' is redeclared"),
        ("y = Add (x, missing)", "'missing'"),
        ("other = Relu (x)", "output 'y'"),
        ("y = Foo (x)", "Foo"),
        ("y = my.Foo (x)", "domain 'my'"),
        ("y = Relu (x, x)", "Relu"),
    ],
)
def test_the_checkers_refusal_is_told_in_one_line_and_nowhere_else(
    nodes: str, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InvalidModelError, match=reason) as caught:
        load(onnx.parser.parse_model(HEADER + " g (float[1, 3] x) => (float[1, 3] y) { " + nodes + " }"))
    assert "\n" not in caught.value.message
    assert ".." not in caught.value.message
    assert capfd.readouterr() == ("", "")


def test_names_that_are_not_utf8_are_refused() -> None:
    content = onnx.parser.parse_model(RELU.replace("y", "yyyy")).SerializeToString().replace(b"yyyy", b"y\xe9yy")
    with pytest.raises(InvalidModelError, match="utf-8"):
        load(content)


def test_unsorted_nodes_are_sorted() -> None:
    text = HEADER + " g (float[1, 3] x) => (float[1, 3] y) { y = Relu (b)  b = Neg (a)  a = Abs (x) }"
    assert [node.tensor for node in load(onnx.parser.parse_model(text)).nodes] == ["a", "b", "y"]


def test_nodes_of_one_name_are_found_by_their_tensors() -> None:
    proto = onnx.parser.parse_model(HEADER + " g (float[1, 3] x) => (float[1, 3] y) { a = Relu (x)  y = Relu (a) }")
    for node in proto.graph.node:
        node.name = "same"
    assert [node.name for node in load(proto).nodes] == ["a", "y"]


def test_functions_are_inlined() -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17, "local": 1]>
    g (float[1, 3] x) => (float[1, 3] y) { h = local.twice (x)  y = local.twice (h) }
    <domain: "local", opset_import: ["": 17]> twice (a) => (b) { t = Relu (a)  b = Add (t, a) }
    """
    model = load(onnx.parser.parse_model(text))
    assert [node.op_type for node in model.nodes] == ["Relu", "Add", "Relu", "Add"]
    assert verify(model).ok


def test_a_function_that_calls_itself_is_refused() -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17, "local": 1]>
    g (float[1, 3] x) => (float[1, 3] y) { y = local.f (x) }
    <domain: "local", opset_import: ["": 17]> f (a) => (b) { b = local.f (a) }
    """
    with pytest.raises(InvalidModelError, match="Cyclic"):
        load(onnx.parser.parse_model(text))


def test_the_callers_proto_is_not_changed() -> None:
    proto = onnx.parser.parse_model(
        """
        <ir_version: 8, opset_import: ["": 17, "local": 1]>
        g (float[1, 3] x) => (float[1, 3] y) { y = local.f (h)  h = Neg (x) }
        <domain: "local", opset_import: ["": 17]> f (a) => (b) { b = Relu (a) }
        """
    )
    before = proto.SerializeToString(deterministic=True)
    model = load(proto)
    assert model.nodes
    assert verify(model).ok
    assert proto.SerializeToString(deterministic=True) == before


def test_the_operator_set_has_two_spellings() -> None:
    proto = onnx.parser.parse_model(RELU)
    proto.opset_import[0].domain = "ai.onnx"
    proto.graph.node[0].domain = "ai.onnx"
    model = load(proto)
    assert model.opset == 17
    assert [node.op_type for node in model.nodes] == ["Relu"]


def test_weights_listed_as_inputs_are_no_inputs() -> None:
    text = '<ir_version: 3, opset_import: ["": 7]> g (float[1, 3] x, float[3] w) => (float[1, 3] y) { y = Add (x, w) }'
    proto = parsed(text, w=np.ones(3, np.float32))
    assert [spec.name for spec in load(proto).inputs] == ["x"]
    del proto.graph.initializer[:]
    assert [spec.name for spec in load(proto).inputs] == ["x", "w"]


@pytest.mark.parametrize("entries", [{}, {"length": "1200"}, {"offset": "0"}])
def test_external_weights_are_found_and_stay_on_disk(entries: dict[str, str], tmp_path: Path) -> None:
    model = load(with_external(tmp_path, external(WEIGHT, **entries)))
    assert model.nodes[0].shape == (3, 100)
    assert "w" not in {spec.name for spec in model.inputs}
    assert verify(model).ok


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"location": "gone.bin"}, r"needs the file 'gone\.bin' beside the model"),
        ({"location": ""}, "outside the model's folder"),
        ({"location": "../w.bin"}, "outside the model's folder"),
        ({"location": "/etc/passwd"}, "outside the model's folder"),
        ({"location": "w\0.bin"}, "null byte"),
        ({"location": "w" * 3000}, "too long"),
        ({"location": "loop"}, "loop"),
        ({"location": "."}, "needs the file"),
        ({"offset": "4"}, "needs 1204 bytes of 'w.bin', which has 1200"),
        ({"offset": "99999999999999999999"}, "which has 1200"),
        ({"offset": "-4"}, "at offset -4"),
        ({"length": "1100"}, "in 1100 bytes"),
        ({"length": "many"}, "not a number"),
    ],
)
def test_external_weights_that_cannot_be_had_are_named(entries: dict[str, str], reason: str, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ExternalDataError, match=reason) as caught:
        load(with_external(tmp_path, external(WEIGHT, **entries)))
    assert "'w'" in caught.value.message


def test_external_weights_of_negative_size_are_refused(tmp_path: Path) -> None:
    tensor = external(WEIGHT)
    tensor.dims[0] = -3
    with pytest.raises(ExternalDataError, match=r"\(-3, 100\)"):
        load(with_external(tmp_path, tensor))


def test_a_symbolic_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "w.bin").write_bytes(WEIGHT.tobytes())
    (inner / "link.bin").symlink_to(tmp_path / "w.bin")
    with pytest.raises(ExternalDataError, match=r"a link to a file outside .*cp -L"):
        load(with_external(inner, external(WEIGHT, location="link.bin")))


def test_a_folder_that_is_a_link_out_of_the_models_folder_is_refused(tmp_path: Path) -> None:
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    inner.mkdir()
    outer.mkdir()
    (outer / "w.bin").write_bytes(WEIGHT.tobytes())
    (inner / "link").symlink_to(outer)
    with pytest.raises(ExternalDataError, match="outside the model's folder"):
        load(with_external(inner, external(WEIGHT, location="link/w.bin")))


@pytest.mark.parametrize("kind", ["symlink_to", "hardlink_to"])
def test_a_link_within_the_folder_is_followed(kind: str, tmp_path: Path) -> None:
    path = with_external(tmp_path, external(WEIGHT, location="link.bin"))
    getattr(tmp_path / "link.bin", kind)(tmp_path / "w.bin")
    assert verify(path).ok


def test_a_model_that_is_reached_by_a_link_has_its_weights_beside_the_link(tmp_path: Path) -> None:
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    inner.mkdir()
    outer.mkdir()
    with_external(outer, external(WEIGHT))
    (inner / "model.onnx").symlink_to(outer / "model.onnx")
    with pytest.raises(ExternalDataError, match=r"needs the file 'w\.bin' beside the model"):
        load(inner / "model.onnx")
    (inner / "w.bin").write_bytes(WEIGHT.tobytes())
    assert verify(inner / "model.onnx").ok


@pytest.mark.parametrize("place", ["attribute", "branch", "branch's attribute", "function"])
def test_external_weights_outside_the_folder_are_refused_wherever_they_are(place: str, tmp_path: Path) -> None:
    proto = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17, "local": 1]> g (float[3, 100] x) => (float[3, 100] y)
        { k = Constant <value = bool {1}> ()
          y = If (k) < then_branch = t () => (float[3, 100] p) { p = Neg (x) },
                       else_branch = e () => (float[3, 100] q) { q = local.f (x) } > }
        <domain: "local", opset_import: ["": 17]> f (a) => (b) { b = Relu (a) }"""
    )
    branch = proto.graph.node[1].attribute[0].g
    tensor = external(WEIGHT, location="../w.bin")
    nodes = {"attribute": proto.graph.node, "branch's attribute": branch.node, "function": proto.functions[0].node}
    if place == "branch":
        branch.initializer.append(tensor)
    else:
        nodes[place].insert(0, helper.make_node("Constant", [], ["w"], value=tensor))
    (tmp_path / "w.bin").write_bytes(WEIGHT.tobytes())
    path = tmp_path / "inner" / "model.onnx"
    path.parent.mkdir()
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(ExternalDataError, match=r"'\.\./w\.bin', outside the model's folder"):
        load(path)


@pytest.mark.parametrize("source", [lambda path: path.read_bytes(), onnx.load_model_from_string])
def test_external_weights_need_a_path(source: Callable[[Any], Any], tmp_path: Path) -> None:
    path = with_external(tmp_path, external(WEIGHT))
    given = path.read_bytes() if source is onnx.load_model_from_string else path
    with pytest.raises(ExternalDataError, match="load the model by its path"):
        load(source(given))


def test_external_tensors_in_attributes_and_branches_work(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(WEIGHT.tobytes())
    result = helper.make_tensor_value_info("sum", TensorProto.FLOAT, [3, 100])
    add = helper.make_graph([helper.make_node("Add", ["x", "w"], ["sum"])], "add", [], [result], [external(WEIGHT)])
    other = helper.make_graph([helper.make_node("Sub", ["x", "c"], ["sum"])], "sub", [], [result])
    nodes = [
        helper.make_node("Constant", [], ["c"], value=external(WEIGHT)),
        helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True))),  # noqa: FBT003 - data
        helper.make_node("If", ["yes"], ["y"], then_branch=add, else_branch=other),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 100])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 100])],
    )
    path = tmp_path / "model.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    )
    assert verify(load(path)).ok
    (tmp_path / "w.bin").unlink()
    with pytest.raises(ExternalDataError, match="and 1 more"):
        load(path)


def test_nothing_is_printed_for_withdrawn_operators(capfd: pytest.CaptureFixture[str]) -> None:
    graph = """
    <ir_version: 3, opset_import: ["": 7]> g (bool k, float[1, 3, 8, 8] x) => (float[1, 3, 8, 8] y)
    {
        a = ImageScaler <scale = 1.0, bias = [0.0, 0.0, 0.0]> (x)
        b = GivenTensorFill (a)
        y = If (k) <
            then_branch = t () => (float[1, 3, 8, 8] p) { p = Affine <alpha = 2.0, beta = 0.0> (a) },
            else_branch = e () => (float[1, 3, 8, 8] q) { q = Scale <scale = 2.0> (a) }
        >
    }
    """
    assert load(onnx.parser.parse_model(graph)).nodes
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ('["cat", "dog"]', ("cat", "dog")),
        ("cat\ndog", ("cat", "dog")),
        ("[1, 2]", ("1", "2")),
        ('{"a": 1}', ()),
        ("[" * 100_000, ("[" * 100_000,)),
        ("", ()),
    ],
)
def test_class_names_are_a_json_list_or_lines(text: str, labels: tuple[str, ...]) -> None:
    proto = onnx.parser.parse_model(RELU)
    proto.metadata_props.add(key="onnxvis.labels", value=text)
    assert load(proto).labels == labels


def test_the_mask_of_an_old_dropout_is_no_node() -> None:
    text = '<ir_version: 3, opset_import: ["": 7]> g (float[1, 3] x) => (float[1, 3] y) { y, mask = Dropout (x) }'
    assert [node.tensor for node in load(onnx.parser.parse_model(text)).nodes] == ["y"]


def test_known_shapes_complete_a_model_without_changing_it() -> None:
    model = load(conv_net())
    sized = model.at({"relu2": (1, 6, 8, 8)})
    assert sized.tensors["relu2"].shape == (1, 6, 8, 8)
    assert model.tensors["relu2"].shape == ("N", 6, 8, 8)


def test_an_output_without_a_declared_shape_is_accepted() -> None:
    proto = parsed('<ir_version: 8, opset_import: ["": 17]> net (float[2] x) => (float[2] y) { y = Relu (x) }')
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    assert load(proto).outputs[0].shape == (2,)


def test_the_checksum_covers_external_weights(tmp_path: Path) -> None:
    onnx.save(conv_net(), tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    before = load(tmp_path / "m.onnx").sha256
    data = bytearray((tmp_path / "m.data").read_bytes())
    data[5] ^= 1
    (tmp_path / "m.data").write_bytes(data)
    changed = load(tmp_path / "m.onnx")
    assert changed.sha256 != before
    assert changed.file_sha256 == load(tmp_path / "m.onnx").file_sha256


def test_the_checksum_covers_external_weights_of_branches(tmp_path: Path) -> None:
    proto = onnx.parser.parse_model(HEADER + " g (float[3, 100] x) => (float[3, 100] y) { y = Add (x, w) }")
    proto.graph.node.insert(0, helper.make_node("Constant", [], ["w"], value=external(WEIGHT)))
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    found = []
    for weight in (WEIGHT, 2 * WEIGHT, WEIGHT):
        (tmp_path / "w.bin").write_bytes(weight.tobytes())
        found.append(load(path).sha256)
    assert found[0] == found[2] != found[1]


@pytest.mark.parametrize("change", ["longer", "shorter", "none", "negative"])
def test_a_weight_of_another_size_than_its_shape_is_refused(change: str) -> None:
    proto = parsed(HEADER + " g (float[3] x) => (float[3] y) { y = Add (x, w) }", w=np.ones(3, np.float32))
    tensor = proto.graph.initializer[0]
    if change == "negative":
        tensor.dims[0] = -3
    else:
        tensor.raw_data = {"longer": bytes(13), "shorter": bytes(11), "none": b""}[change]
    with pytest.raises(InvalidModelError, match="'w'"):
        load(proto)


@pytest.mark.parametrize("dtype", ["FLOAT", "DOUBLE", "INT64", "UINT8", "BOOL", "FLOAT16", "COMPLEX64", "INT4"])
def test_weights_that_are_written_as_numbers_are_counted(dtype: str) -> None:
    proto = onnx.parser.parse_model(RELU)
    kind = TensorProto.DataType.Value(dtype)
    proto.graph.initializer.append(helper.make_tensor("w", kind, [3], [1, 0, 1]))
    assert load(proto).tensors["w"].shape == (3,)
    proto.graph.initializer[0].dims[0] = 5
    with pytest.raises(InvalidModelError, match=r"'w' of shape \(5,\)"):
        load(proto)


def test_a_constant_without_a_value_is_refused() -> None:
    proto = onnx.parser.parse_model(HEADER + " g (float[1] x) => (float[1] y) { c = Constant () y = Add (x, c) }")
    with pytest.raises(InvalidModelError, match="Constant 'c' has 0 values"):
        load(proto)


def test_an_input_without_a_declared_shape_needs_one_to_be_given() -> None:
    proto = parsed('<ir_version: 8, opset_import: ["": 17]> net (float[2] x) => (float[2] y) { y = Relu (x) }')
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    assert load(proto).inputs[0].shape is None
    assert verify(proto, input_shapes={"x": (2, 3)}).ok
    with pytest.raises(UnknownSizeError, match="unknown rank"):
        verify(proto)
