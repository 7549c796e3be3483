"""What may not be shown is refused by name."""

import pytest

from cytobench.errors import UsageError
from cytobench.pictures.licence import refuse_hidden
from cytobench.registry import Registry


def test_hidden_sets_are_refused_by_name_and_others_are_not() -> None:
    tasks = Registry.load(entry_points=False).tasks
    refuse_hidden([tasks["bccd-cell-type"]])
    with pytest.raises(UsageError, match="herlev-7"):
        refuse_hidden([tasks["bccd-cell-type"], tasks["herlev-7"]])
