"""Where the bundled model is searched for."""

import pytest

from unrolled import shipped
from unrolled.errors import UserError


def test_the_first_place_that_holds_a_run_wins(tmp_path, monkeypatch):
    inside, beside = tmp_path / "inside", tmp_path / "beside"
    monkeypatch.setattr(shipped, "_CANDIDATES", (inside, beside))
    inside.mkdir()  # a folder without a run is not a model
    beside.mkdir()
    (beside / "config.json").write_text("{}")
    assert shipped.shipped_model_folder() == beside
    (inside / "config.json").write_text("{}")
    assert shipped.shipped_model_folder() == inside


def test_without_a_model_the_error_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "_CANDIDATES", (tmp_path / "a", tmp_path / "b"))
    with pytest.raises(UserError, match="train one"):
        shipped.shipped_model_folder()
