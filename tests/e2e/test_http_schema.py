"""What ``/openapi.json`` says is so: schemathesis asks a real server what fits the description, and what does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from serving import Server
from webbing import BOSS, SWITCH, asking, make_book, url, web_serving
