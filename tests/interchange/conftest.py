"""The command line for tests of what goes out and comes in."""

from tests.cli.conftest import cytobench as cytobench
