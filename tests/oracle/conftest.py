"""One oracle for all tests here: starting it costs half a second."""

from collections.abc import Iterator

import pytest

from qfp.diff.client import Oracle, OracleError


@pytest.fixture(scope="session")
def oracle() -> Iterator[Oracle]:
    try:
        running = Oracle()
    except OracleError as error:
        pytest.skip(str(error))
    with running:
        yield running
