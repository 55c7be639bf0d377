"""What is drawn for each operator, one module for each family; importing this package registers all."""

from tests.ops.cases import elementwise

__all__ = ["elementwise"]
