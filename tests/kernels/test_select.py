"""Which kernel is chosen, and what the user is told."""

import pytest

from unrolled.config import TrainingSettings
from unrolled.kernels import available_kernels, explain_kernels, select_kernel


def test_auto_takes_a_kernel_made_for_speed_and_says_why():
    choice = select_kernel()
    assert choice.kernel.name in set(available_kernels()) - {"reference"}
    assert choice.reason


@pytest.mark.parametrize("name", ["reference", "fused"])
def test_a_kernel_is_chosen_by_its_name(name):
    choice = select_kernel(name)
    assert choice.kernel.name == name
    assert choice.reason == "as requested"


def test_an_unknown_name_is_a_callers_mistake_that_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'cudnn'.*reference.*fused"):
        select_kernel("cudnn")


def test_the_setting_takes_every_kernel_by_its_name():
    accepted = TrainingSettings.model_fields["kernel"].annotation.__args__
    assert {"auto", *available_kernels()} <= set(accepted)
    for name, kernel in available_kernels().items():
        assert kernel.name == name


def test_every_kernel_of_the_settings_is_explained():
    explained = explain_kernels()
    choices = TrainingSettings.model_fields["kernel"].annotation.__args__
    assert set(explained) == {*choices, "stored_choice"}
    for name in set(choices) - {"auto"}:
        assert explained[name].startswith("available" if name in available_kernels() else "not available")
    assert explained["auto"] == f"{select_kernel().kernel.name}: {select_kernel().reason}"
