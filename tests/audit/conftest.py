"""Fixtures of audits."""

from tests.checks.conftest import planted as planted
