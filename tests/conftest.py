"""Whether the absence of a browser is a fault: in CI it is."""

import shutil

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--require-browser", action="store_true", help="refuse to run without Chromium, so none skips")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--require-browser") and not any(shutil.which(name) for name in BROWSERS):
        raise pytest.UsageError("no Chromium on this machine")
