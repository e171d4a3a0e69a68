"""What is tried with a client, and what a client under test is to do.

A client is a command. The judge appends the address of a server to it (a URL, or over standard streams the command of
one) and says in the environment what is wanted:

`MCP_CONFORMANCE_SCENARIO`          the scenario's id
`MCP_CONFORMANCE_PROTOCOL_VERSION`  the revision to speak; absent: whichever the two agree on
`MCP_CONFORMANCE_CONTEXT`           JSON, in the scenarios that say so

It connects and uses everything there is: it lists the tools, resources and prompts that the server declares, calls each
tool with arguments that fit its schema (`const`, `enum` and the like decide, properties with a default are left out),
reads each resource, gets each prompt, answers what it is asked, and disconnects. It ends with status 0 if everything
went well, and with another if a call failed.

Some scenarios ask for something else: their `asks`, which `python -m conformance explain ID` prints. Where the client
does not do it, the scenario is skipped; it never passes.
"""
