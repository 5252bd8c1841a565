"""What goes in: the parameters of a method as the body of a request (interfaces.md 6).

They are read as every interface reads them, strictly and with the same complaints; the framework's own reading
would take ``"1"`` for a number here and there. :func:`describe` says in the API's document what the types of the
model cannot: which texts are taken.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

import msgspec
from litestar.dto import AbstractDTO, DTOConfig
from litestar.dto.data_structures import DTOFieldDefinition
from litestar.openapi.spec import OpenAPI, OpenAPIType, Schema
from litestar.typing import FieldDefinition

from identengine.engine.lifecycle import LONGEST_INTERVAL, MOST_PARTS
from identengine.server.http.problems import Problem, ProblemError, of_trouble
from identengine.wire.jsonrpc.codec import JSON, UNDECODED
from identengine.wire.jsonrpc.errors import complaint
from identengine.wire.jsonrpc.messages import PARSE_ERROR, RequestMessage, ResponseMessage
from identengine.wire.jsonrpc.methods import METHODS

T = TypeVar("T", bound=msgspec.Struct)

NO_BODY = "the parameters are wanted as a JSON object, {} where there are none"
_READERS = {spec.params: msgspec.json.Decoder(spec.params) for spec in METHODS.values()}
_read_response = msgspec.json.Decoder(ResponseMessage).decode


class BodyError(ProblemError):
    """The body of a request cannot be used as parameters."""


class Body(AbstractDTO[T]):
    """Reads the body of a request as the parameters ``T``; raises ProblemError, which names what is wrong."""

    config = DTOConfig()

    def decode_bytes(self, value: bytes) -> T:
        """Return the parameters."""
        method = self.asgi_connection.route_handler.name or ""
        return read(value, method, self.model_type)

    @classmethod
    def create_for_field_definition(
        cls, field_definition: FieldDefinition, handler_id: str, backend_cls: object = None
    ) -> None:
        """Make nothing: the model itself is read, and not a copy of it that is made for the transfer."""

    @classmethod
    def create_openapi_schema(cls, field_definition: FieldDefinition, handler_id: str, schema_creator: Any) -> Any:
        """Return the schema of the model."""
        return schema_creator.for_field_definition(FieldDefinition.from_annotation(cls.model_type))

    @classmethod
    def generate_field_definitions(cls, model_type: type[Any]) -> Generator[DTOFieldDefinition, None, None]:
        """Define none, as above."""
        yield from ()

    @classmethod
    def detect_nested_field(cls, field_definition: FieldDefinition) -> bool:
        """Return that there is none, as above."""
        return False


def read(body: bytes, method: str, kind: type[T]) -> T:
    """Return the parameters of a method. Raises ProblemError with what is wrong."""
    for text in (body, JSON.repaired(body)):
        try:
            return _READERS[kind].decode(text)  # type: ignore[return-value]  # a dict of types says no more
        except UNDECODED:
            continue
    raise _problem(text, method)


def _problem(body: bytes, method: str) -> BodyError:
    """Return what is wrong with a body, as the same parameters would be answered over JSON-RPC."""
    try:
        well_formed = JSON.is_well_formed(body) and JSON.members(body) is not None
    except msgspec.ValidationError:
        return BodyError(Problem(400, NO_BODY))
    except UNDECODED:
        well_formed = False
    error = None
    if well_formed:
        found = complaint(JSON.encode(RequestMessage(method, 0, msgspec.Raw(body))), JSON)
        error = _read_response(found.error).error
    if error is None:
        return BodyError(Problem(400, f"not parsable as JSON in UTF-8; {NO_BODY}", PARSE_ERROR))
    return BodyError(of_trouble(error).problem)


def describe(document: OpenAPI) -> None:
    """Say in the document which values are taken, where types alone do not."""
    schemas = document.components.schemas or {}
    call_id = Schema(type=OpenAPIType.STRING, pattern=r"\S", description="The id of a call.")
    way = Schema(enum=["origination", "termination", "", None])
    call = schemas["CallRequest"].properties or {}
    call["call_id"], call["direction"] = call_id, way
    call["interval"] = _number(LONGEST_INTERVAL, "Seconds between two updates.")
    schemas["CallRequest"].required = ["call_id"]
    listed = schemas["CallList"].properties or {}
    listed["list_id"] = Schema(type=OpenAPIType.STRING, pattern=r"\S", description="A name for this list.")
    listed["part"] = _number(MOST_PARTS, "At most parts; 1 where it is missing.")
    listed["parts"] = _number(MOST_PARTS, "How many parts the list has; 1 where it is missing.")
    schemas["CallList"].required = ["list_id"]
    entry = Schema(
        type=OpenAPIType.ARRAY,
        prefix_items=[call_id, Schema(type=[OpenAPIType.STRING, OpenAPIType.NULL]), way],
        min_items=1,
        max_items=3,
        description="call_id, leg_id, direction",
    )
    listed["calls"] = Schema(type=[OpenAPIType.ARRAY, OpenAPIType.NULL], items=entry)


def _number(most: int, what: str) -> Schema:
    """Return the schema of a number from 1 on, or a string of its digits; nothing is as if it were missing."""
    return Schema(
        one_of=[
            Schema(type=OpenAPIType.INTEGER, minimum=1, maximum=most),
            Schema(type=OpenAPIType.STRING, pattern=r"^([1-9][0-9]{0,4})?$"),
            Schema(type=OpenAPIType.NULL),
        ],
        description=what,
    )
