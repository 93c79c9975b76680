"""Which instructions `make bench-a57` measures, and that what it reports is llvm-mca's."""

from __future__ import annotations

import re
import shutil

import pytest

from device_scripts.host.a57 import loops

ASSEMBLY = """
_ZN4namelEv:
	cbz	x8, .LBB0_4
.LBB0_1:
	ldr	q0, [x0], #16
	fmla	v1.4s, v0.4s, v0.s[0]
	b.ne	.LBB0_1
.LBB0_2:                                // the one with more products
	ldr	q0, [x0], #16                   // a load
	fmla	v1.4s, v0.4s, v0.s[0]
	.loc	1 2 3
	fmla	v2.4s, v0.4s, v0.s[0]
	subs	x8, x8, #1
	b.ne	.LBB0_2
	fmla	v9.4s, v0.4s, v0.s[0]
.LBB0_4:
	ret
.Lfunc_end0:
"""


def test_the_loop_with_the_most_terms_is_taken() -> None:
    loop = loops.inner_loop(ASSEMBLY, "namel", "fmla")
    assert [line.split()[0] for line in loop] == ["ldr", "fmla", "fmla", "subs", "b.ne"]


@pytest.mark.parametrize(("function", "instruction"), [("other", "fmla"), ("namel", "fabd")])
def test_what_is_not_there_is_said(function: str, instruction: str) -> None:
    with pytest.raises(loops.BenchError, match=function):
        loops.inner_loop(ASSEMBLY, function, instruction)


def needs_llvm_mca() -> None:
    if shutil.which("llvm-mca") is None:
        pytest.skip("no llvm-mca: its numbers are not tested; on Debian: apt-get install llvm")


def test_cycles_of_a_loop_that_is_known() -> None:
    """Sixteen independent fmla of a whole register: one a cycle (jetson-nano's facts)."""
    needs_llvm_mca()
    loop = [f"fmla v{i}.4s, v30.4s, v31.4s" for i in range(16)]
    assert loops.cycles(loop) == pytest.approx(16, rel=0.02)


@pytest.mark.slow
def test_every_kernel_reaches_its_floor() -> None:
    needs_llvm_mca()
    shares = dict(re.findall(r"^\| (.*?) \|.* (\d+)% \|$", "\n".join(loops.table()), re.M))
    assert shares.keys() == {loop.kernel for loop in loops.LOOPS}
    # The two kernels that a share is promised for.
    assert int(shares["ShiftConv fp32"]) >= 85
    assert int(shares["QLinearAdderConv"]) >= 85
