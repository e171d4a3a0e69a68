"""A judge for implementations of MCP: servers and clients, every revision, every verdict with its evidence.

    python -m conformance server --command "CMD"             # a server on its standard streams
    python -m conformance server --url URL                   # a server over Streamable HTTP, HTTP+SSE or WebSocket
    python -m conformance client --command "CMD"             # a client; the server's address is appended
    python -m conformance explain 128                        # what a requirement is, and what looks at it
    python -m conformance matrix                             # known implementations, side by side
    python -m conformance agreement                          # this judge and the official suite on one target
    python -m conformance.official                           # the official suite on our own, which needs npm

`docs/conformance.md` says how to test a server, a client, how to read a verdict, and how to add a scenario. After an
install the command is `kailash-mcp conformance`, and this package is `kailash.conformance`.

The judge shares `protocol.framing` and `protocol.jsonrpc` with the implementation here, and no rule.
"""
