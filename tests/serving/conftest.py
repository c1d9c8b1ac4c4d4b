"""Some tests of loading go through a served application."""

from tests.web.conftest import served as served
