"""What is compiled in advance is everything that a CPU can need."""

from typing import get_args

import numpy as np
import pytest

from nabla.engine.literals import DtypeName
from nabla.engine.nn import compiled_step
from nabla.engine.nn.jit import KERNELS
from nabla.engine.nn.tracing import Call
from nabla.engine.training.precompile import compile_all


@pytest.mark.parametrize("dtype", get_args(DtypeName))
def test_every_kernel_of_a_cpu_is_compiled_in_advance(dtype: DtypeName, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: dict[str, set[str]] = {}

    def load_kernel(call: Call) -> int:
        compiled.setdefault(call.kernel.name, set()).update(array.dtype.name for array in call.arrays)
        return 0

    monkeypatch.setattr(compiled_step, "load_kernel", load_kernel)
    compile_all(dtype)
    assert compiled.keys() == KERNELS.keys() - {"round_to_half"}  # which only a GPU uses
    other = ({"float32", "float64"} - {dtype}).pop()
    # float64 is also the type of sums and settings.
    assert other == "float64" or other not in set().union(*compiled.values())
    assert np.dtype(dtype).name in compiled["matmul_nt"]
