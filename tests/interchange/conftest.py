"""The command line for tests of what goes out and comes in."""

from tests.cli.conftest import cytobench as cytobench
from tests.interchange.lab_bundles import bundle as bundle
from tests.interchange.lab_bundles import lab as lab
