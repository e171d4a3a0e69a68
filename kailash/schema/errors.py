"""What goes wrong with schemas and arguments."""


class ArgumentError(ValueError):
    """The arguments of a call do not fit the function's signature."""

    def __init__(self, message: str, argument: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        """What was expected and what came, fit to be shown to the caller."""
        self.argument = argument
        """The offending argument; None when no single one is to blame."""


class SchemaError(ValueError):
    """A JSON Schema cannot be used: malformed, too large, or reaching outside itself."""


class UnsupportedDialectError(SchemaError):
    """A JSON Schema declares a dialect no validator here implements."""
