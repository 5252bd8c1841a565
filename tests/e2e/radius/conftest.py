"""A server with RADIUS for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from e2e.radius.carrier import CONFIG, PASSWORDS, made
from support.radclient import SECRET
from support.server import Server, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(made(tmp_path_factory.mktemp("radius")), CONFIG) as running:
        yield running
        assert "Traceback" not in running.log
        for secret in (SECRET, *PASSWORDS):
            assert secret not in running.log
