"""Fixtures of audits."""

from tests.checks.conftest import planted as planted  # noqa: PLC0414  (pytest finds fixtures by name)
