"""What a run computes with: device, kernel, precision."""

import pytest

from unrolled import native
from unrolled.config import make_settings
from unrolled.errors import UserError
from unrolled.runs import Checkpoint
from unrolled.training.computing import check_machine, choose_machine

pytestmark = pytest.mark.skipif(
    native.native_library() is None, reason="no C compiler was here when unrolled was installed"
)


def settings(**training):
    return make_settings("stories", {f"training.{name}": value for name, value in training.items()})


def checkpoint(**counters):
    return Checkpoint(tensors={}, counters=counters)


def test_bfloat16_reaches_the_kernel_and_the_checkpoint():
    machine = choose_machine(settings(device="cpu", kernel="native", precision="bfloat16"), None)
    assert machine.kernel.kernel.precision == "bfloat16"
    assert machine.noted()["precision"] == "bfloat16"


def test_a_resumed_run_keeps_its_precision_if_the_choice_is_ours():
    before = checkpoint(device="cpu", kernel="native", precision="bfloat16")
    machine = choose_machine(settings(device="cpu"), before)
    assert (machine.precision.precision, machine.precision.reason) == ("bfloat16", "as the run was begun")
    assert machine.kernel.kernel.precision == "bfloat16"
    asked = choose_machine(settings(device="cpu", precision="float32"), before)
    assert asked.kernel.kernel.precision == "float32"


def test_a_checkpoint_of_another_kernel_or_without_a_precision_leaves_the_choice_open():
    for before in (checkpoint(device="cuda", kernel="fused", precision="bfloat16"), checkpoint(device="cpu")):
        assert (
            choose_machine(settings(device="cpu", precision="auto"), before).precision.reason != "as the run was begun"
        )


@pytest.mark.parametrize("before", [{"device": "cuda", "kernel": "reference"}, {"device": "cpu", "kernel": "triton"}])
def test_a_kernel_of_another_device_or_one_that_is_not_here_is_chosen_again(before):
    machine = choose_machine(settings(device="cpu", kernel="auto", precision="auto"), checkpoint(**before))
    assert machine.kernel.reason != "as the run was begun"
    assert machine.kernel.kernel.name == choose_machine(settings(device="cpu", kernel="auto"), None).kernel.kernel.name


def test_a_precision_that_a_newly_requested_kernel_does_not_have_is_chosen_again_where_the_choice_is_ours():
    before = checkpoint(device="cpu", kernel="native", precision="bfloat16")
    machine = choose_machine(settings(device="cpu", kernel="fused", precision="auto"), before)
    assert (machine.precision.precision, machine.kernel.kernel.name) == ("float32", "fused")


def test_a_precision_that_the_kernel_does_not_have_is_a_plain_sentence():
    with pytest.raises(
        UserError, match=r"^The kernel fused does not train in bfloat16 on cpu; .*training.precision=float32"
    ):
        check_machine(settings(device="cpu", kernel="fused", precision="bfloat16"))
