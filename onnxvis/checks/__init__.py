"""The checks of a model, one module for each family: each is a function of an inspection and the settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from onnxvis.checks.agreement import check_agreement
from onnxvis.checks.dead import check_dead
from onnxvis.checks.finite import check_finite
from onnxvis.checks.gradients import check_gradients
from onnxvis.checks.loading import check_load
from onnxvis.checks.outputs import check_outputs
from onnxvis.checks.overflow import check_overflow
from onnxvis.checks.policy import check_policy
from onnxvis.checks.saturated import check_saturated
from onnxvis.checks.unused import check_unused
from onnxvis.checks.weights import check_weights
from onnxvis.config import CheckSettings
from onnxvis.inspection import Inspection
from onnxvis.outcomes import Outcome

Check = Callable[[Inspection, CheckSettings], Outcome]

REGISTRY: Mapping[str, Check] = {
    "load": check_load,
    "policy": check_policy,
    "weights": check_weights,
    "unused-initializers": check_unused,
    "agreement": check_agreement,
    "gradients": check_gradients,
    "finite": check_finite,
    "constant-outputs": check_outputs,
    "dead-units": check_dead,
    "saturated-units": check_saturated,
    "int8-overflow": check_overflow,
}
"""By name, in the order in which they are done."""
