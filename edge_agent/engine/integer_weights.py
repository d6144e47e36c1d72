"""Which dense tensors the kernel multiplies in integers of 16 bits, and how much room that takes.

Theory of operation. A stored weight is a code into a palette of floats. Where a tensor is dense, its
weights are written out once, when a population is made, as integers (`engine.kernel_weights`); beliefs
become integers in the kernel (kernel/integers.h). A vector instruction then multiplies and adds two columns,
where floats take two instructions for one: so integers are chosen where that saves more operations than
packing the beliefs and scaling the sums costs. Sparse tensors stay as they are.
"""

from __future__ import annotations

from edge_agent.engine.storage import Tensor

MOST_COLUMNS = 32_768
PACK_COST = 8.0  # operations a column: largest, sum, scale, round, join
ROW_COST = 2.0  # of a sum: to float, scale
BLOCK_ROWS = 4


def pays(tensor: Tensor, rows: int) -> bool:
    """Return whether integers take fewer operations where ``rows`` rows are applied to the same beliefs."""
    if tensor.sparse or len(tensor.base) or tensor.width > MOST_COLUMNS:
        return False
    return rows * tensor.width > ROW_COST * rows + PACK_COST * tensor.width


def packed_rows(width: int) -> int:
    """Return the scratch rows of packed beliefs: a row a pair of states, and the unit of each lane."""
    return (width + 1) // 2 + 1


def padded(rows: int, width: int) -> tuple[int, int]:
    """Return the blocks of rows that a group of ``rows`` rows takes, and the pairs of columns of each."""
    return -(-rows // BLOCK_ROWS), (width + 1) // 2
