"""Resources: text, bytes, a family by template, and one to watch."""

from kailash.mcp_server import MCPServer

from .media import PNG

__all__ = ["add_resources"]


def add_resources(server: MCPServer) -> None:
    """Register the resources."""

    @server.resource("test://static-text", name="static-text", mime_type="text/plain")
    async def static_text() -> str:
        """Text that never changes."""
        return "This is the content of the static text resource."

    @server.resource("test://static-binary", name="static-binary", mime_type="image/png")
    async def static_binary() -> bytes:
        """An image that never changes."""
        return PNG

    @server.resource("test://watched-resource", name="watched-resource", mime_type="text/plain")
    async def watched() -> str:
        """Text that clients may watch."""
        return "This is the content of the watched resource."

    @server.resource("test://template/{id}/data", name="template-data", mime_type="application/json")
    async def data(id: str) -> dict[str, object]:
        """Data by id."""
        return {"id": id, "templateTest": True, "data": f"Data for ID: {id}"}
