"""Derive schemas from Python types and validate against schemas from others."""

from .compile import Validator, compile_schema
from .derive import Arguments, derive_arguments
from .dialect import Problem
from .docstrings import Doc, parse_docstring
from .errors import ArgumentError, SchemaError, UnsupportedDialectError
from .inline import Style
from .jsonable import dumps, to_jsonable
from .output import Output, derive_output

__all__ = [
    "ArgumentError",
    "Arguments",
    "Doc",
    "Output",
    "Problem",
    "SchemaError",
    "Style",
    "UnsupportedDialectError",
    "Validator",
    "compile_schema",
    "derive_arguments",
    "derive_output",
    "dumps",
    "parse_docstring",
    "to_jsonable",
]
