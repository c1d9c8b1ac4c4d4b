"""A kernel with a precision of its own is a class and a line in the registry: whatever chooses finds it there."""

import pytest

from unrolled.bench import ours
from unrolled.config import make_settings
from unrolled.errors import UserError
from unrolled.kernels import FusedKernel, choose_precision, explain_kernels, explain_precision, select, select_kernel
from unrolled.kernels.contract import Availability
from unrolled.runs import Checkpoint
from unrolled.training.computing import check_machine, choose_machine


class AnotherKernel(FusedKernel):
    """Pretends to round its operands to float24; on the CPU alone."""

    name = "another"
    objection = None
    here = Availability(True, "made up")

    def __init__(self, precision="float32"):
        self.precision = precision

    @classmethod
    def availability(cls):
        return cls.here

    @staticmethod
    def is_made_for(device_type):
        return device_type == "cpu"

    def precisions(self, device_type):
        return ("float24", "float32") if device_type == "cpu" else ("float32",)

    def objection_to(self, precision):
        return self.objection if precision == "float24" else None

    def with_precision(self, precision):
        return type(self)(precision)


@pytest.fixture(autouse=True)
def another(monkeypatch):
    """The kernel as the last and therefore fastest of the registry; a copy of the class, which a test may change."""
    kind = type("AnotherKernel", (AnotherKernel,), {})
    monkeypatch.setattr(select, "KERNELS", (*select.KERNELS, kind))
    return kind


def settings(kernel="auto", precision="auto"):
    """Settings with choices that the list in the configuration does not have yet."""
    made = make_settings("stories", {"training.device": "cpu"})
    training = made.training.model_copy(update={"kernel": kernel, "precision": precision})
    return made.model_copy(update={"training": training})


def chosen(*asked, checkpoint=None):
    machine = choose_machine(settings(*asked), checkpoint)
    return machine.kernel.kernel.name, machine.kernel.kernel.precision, machine.precision.reason


def test_auto_takes_the_kernel_where_it_is_made_for_the_device_and_its_preferred_precision(another):
    assert select_kernel().kernel.name == "another"
    assert select_kernel("auto", "cuda").kernel.name == "fused"
    assert chosen() == ("another", "float24", "faster on this processor")
    another.objection = "this is Monday"
    assert chosen() == ("another", "float32", "this is Monday")


def test_kernel_and_precision_can_be_requested(another):
    another.objection = "this is Monday"
    assert chosen("another", "float24") == ("another", "float24", "as requested, although this is Monday")
    assert chosen("another", "float32") == ("another", "float32", "as requested")
    with pytest.raises(ValueError, match=r"another does not train in bfloat16 on cpu; .*=float32 or float24"):
        choose_precision("bfloat16", another(), "cpu")


def test_a_run_keeps_the_precision_that_it_was_begun_with(another):
    another.objection = "this is Monday"
    begun = Checkpoint(tensors={}, counters={"device": "cpu", "kernel": "another", "precision": "float24"})
    assert chosen(checkpoint=begun) == ("another", "float24", "as the run was begun")
    assert choose_machine(settings(), begun).noted()["precision"] == "float24"


def test_the_kernel_is_explained_and_timed():
    assert explain_kernels()["another"] == "available: made up"
    assert explain_kernels()["auto"] == "another: the fastest on cpu: made up"
    assert explain_precision() == "float24: faster on this processor"
    assert ours.our_kernels()["another float24"].precision == "float24"


def test_a_kernel_that_is_not_available_is_explained_left_out_and_refused(another):
    another.here = Availability(False, "in need of a compiler")
    assert explain_kernels()["another"] == "not available: in need of a compiler"
    assert select_kernel().kernel.name != "another"
    assert "another is in need of a compiler" in select_kernel().reason
    with pytest.raises(
        UserError, match=r"^The kernel another is not available here \(in need of a compiler\); use --set"
    ):
        check_machine(settings("another"))
