"""What detectors do with their boxes, once these are known: the result's shape depends on the values."""

from __future__ import annotations

import torch
from torch import Tensor

from onnxvis.ops.table import ConstantTensor, operator


@operator("NonMaxSuppression", differentiable=False)
def non_max_suppression(
    boxes: ConstantTensor,
    scores: ConstantTensor,
    max_output_boxes_per_class: int | None = None,
    iou_threshold: float | None = None,
    score_threshold: float | None = None,
    *,
    center_point_box: int = 0,
) -> Tensor:
    """Keep the boxes of highest score that overlap none of a higher score: (kept, 3) of batch, class and box.

    Args:
        boxes: (N, boxes, 4).
        scores: (N, classes, boxes).
        max_output_boxes_per_class: How many to keep; None is none.
        iou_threshold: Boxes overlap if intersection / union is larger than that; None is 0.
        score_threshold: Boxes with this score or a lower one are not kept.
        center_point_box: 0: (y1, x1, y2, x2), any two opposite corners; 1: (x, y, width, height), around the center.
    """
    most = max_output_boxes_per_class or 0
    corners = _corners(boxes, center_point_box)
    kept = [
        (image, label, box)
        for image, of_image in enumerate(scores)
        for label, of_class in enumerate(of_image)
        for box in _kept(corners[image], of_class, most, iou_threshold or 0.0, score_threshold)
    ]
    return torch.tensor(kept, dtype=torch.int64, device=boxes.device).reshape(-1, 3)


def _corners(boxes: Tensor, center_point_box: int) -> Tensor:
    """The lower and the upper corner: (..., 4) -> (..., 2, 2)."""
    first, second = boxes[..., :2], boxes[..., 2:]
    if center_point_box:
        return torch.stack([first - second / 2, first + second / 2], -2)
    return torch.stack([torch.minimum(first, second), torch.maximum(first, second)], -2)


def _kept(corners: Tensor, scores: Tensor, most: int, iou_threshold: float, score_threshold: float | None) -> list[int]:
    """The boxes of one class, best first; of equal scores the first comes first."""
    candidates = torch.argsort(scores, descending=True, stable=True)
    if score_threshold is not None:
        candidates = candidates[scores[candidates] > score_threshold]
    kept: list[int] = []
    while len(candidates) and len(kept) < most:
        best, candidates = candidates[0], candidates[1:]
        kept.append(int(best))
        candidates = candidates[~_overlaps(corners[best], corners[candidates], iou_threshold)]
    return kept


def _overlaps(box: Tensor, others: Tensor, threshold: float) -> Tensor:
    """Whether intersection / union is above the threshold; never for boxes without an area."""
    lower, upper = torch.maximum(box[0], others[:, 0]), torch.minimum(box[1], others[:, 1])
    intersection = (upper - lower).clamp(min=0).prod(-1)
    area, areas = (box[1] - box[0]).prod(), (others[:, 1] - others[:, 0]).prod(-1)
    return (intersection > 0) & (area > 0) & (areas > 0) & (intersection / (area + areas - intersection) > threshold)
