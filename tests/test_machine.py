"""The name of this machine, and the location of its cache."""

import os
from pathlib import Path

from unrolled import machine
from unrolled.machine import default_cache_folder, machine_name


def test_the_name_includes_the_processor_and_the_cores():
    name, _, cores = machine_name().rpartition(", ")
    assert name
    assert cores == f"{os.cpu_count()} cores"


def test_the_processor_is_the_first_that_the_system_lists(tmp_path, monkeypatch):
    listed = tmp_path / "cpuinfo"
    listed.write_text("processor\t: 0\nmodel name\t: Abacus: 3 wires\n\nprocessor\t: 1\nmodel name\t: Slide rule\n")
    monkeypatch.setattr(machine, "PROCESSORS", listed)
    assert machine_name.__wrapped__() == f"Abacus: 3 wires, {os.cpu_count()} cores"


def test_a_machine_that_does_not_list_its_processors_has_a_name_too(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "PROCESSORS", tmp_path / "none")
    assert machine_name.__wrapped__().endswith(" cores")


def test_the_cache_folder_follows_the_environment(monkeypatch):
    monkeypatch.setenv("UNROLLED_CACHE", "/a/own")
    monkeypatch.setenv("XDG_CACHE_HOME", "/a/shared")
    assert default_cache_folder() == Path("/a/own")
    monkeypatch.delenv("UNROLLED_CACHE")
    assert default_cache_folder() == Path("/a/shared/unrolled")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/a/home")
    assert default_cache_folder() == Path("/a/home/.cache/unrolled")
