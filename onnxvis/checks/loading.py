"""Whether the reference accepts the model, and runs it."""

from __future__ import annotations

from onnxvis.checks.concluding import concluded
from onnxvis.config import CheckSettings
from onnxvis.inspection import Inspection
from onnxvis.outcomes import Outcome


def check_load(inspection: Inspection, settings: CheckSettings) -> Outcome:  # noqa: ARG001 - as all checks
    """Run the model once.

    Args:
        inspection: The model.
        settings: As for all checks.

    Raises:
        OnnxvisError: The reference refuses the model or its input, or sizes are open.
    """
    place = inspection.place
    return concluded("load", [], f"{inspection.oracle.engine} runs it at {place}")
