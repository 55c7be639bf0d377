import numpy as np
import torch

from onnxvis.checks.alone import wrong_alone
from onnxvis.lower import lower
from onnxvis.verify import Lowered, relative_error
from tests.checks.inspected import inspected, of
from tests.models import conv_net

TOLERANCE = 1e-4


def test_a_right_network_has_no_layer_that_is_wrong_alone() -> None:
    inspection = of(conv_net())
    for probe in inspection.probes:
        assert wrong_alone(inspection.lowered, probe.feeds, inspection.reference(probe), TOLERANCE) == {}


def test_only_the_layer_itself_is_wrong_and_not_all_behind_it() -> None:
    inspection = of(conv_net())
    names = inspection.lowered.names
    wrong = lower(inspection.model, names, replacements={"AveragePool": lambda x, **_: x[..., ::2, ::2] * 1.01})
    probe = inspection.probes[0]
    found = wrong_alone(Lowered(wrong, names, ()), probe.feeds, inspection.reference(probe), TOLERANCE)
    assert list(found) == ["pool1"]
    assert found["pool1"] > 1e-3


def test_rounding_that_a_layer_amplifies_is_not_wrong() -> None:
    inspection = inspected(
        "g (float[1, 3] x) => (float[1, 3] y) { d = Sub(x, m) y = Log(d) }", m=np.ones(3, np.float32)
    )
    feeds = {"x": np.full((1, 3), 1.00001, np.float32)}
    wanted = inspection.oracle.run(feeds)
    rounded = {name: np.asarray(array * np.float32(1 + 3e-3)) for name, array in wanted.items()}
    wrong = wrong_alone(inspection.lowered, feeds, {**wanted, "d": rounded["d"]}, TOLERANCE)
    assert relative_error(rounded["d"], wanted["d"]) > TOLERANCE
    assert "d" not in wrong


def test_another_shape_is_wrong() -> None:
    inspection = of(conv_net())
    probe = inspection.probes[0]
    wanted = {**inspection.reference(probe), "pooled": np.zeros((1, 6), np.float32)}
    found = wrong_alone(inspection.lowered, probe.feeds, wanted, TOLERANCE)
    assert found["pooled"] == np.inf


def test_torch_is_left_without_a_graph_of_gradients() -> None:
    inspection = of(conv_net())
    probe = inspection.probes[0]
    before = torch.is_grad_enabled()
    wrong_alone(inspection.lowered, probe.feeds, inspection.reference(probe), TOLERANCE)
    assert torch.is_grad_enabled() == before
