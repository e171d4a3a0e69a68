"""A judge for implementations of MCP: servers and clients, every revision, every verdict with its evidence.

    python -m conformance server --command "CMD"             # a server on its standard streams
    python -m conformance server --url URL                   # a server over Streamable HTTP
    python -m conformance client --command "CMD"             # a client; the server's address is appended
    python -m conformance explain 128                        # what a requirement is, and what looks at it
    python -m conformance.official                           # the official suite, which needs npm

To test your server: expose what `fixtures/official.toml` names (or write a file of your own names and give it with
`--fixtures`); what is missing is skipped. To test your client: make the command connect to the address that is appended
(a URL, or over stdio the command of a server), call each tool, read each resource and get each prompt, and end with a
status other than 0 if any of that fails. To add a scenario: write a function in `scenarios/` that takes a `Trial`, mark
it with `@scenario(covers=[numbers of rules])`, and call `trial.check(rule, is_kept, what_was_seen)`.

The judge shares `protocol.framing` and `protocol.jsonrpc` with the implementation here, and no rule.
"""
