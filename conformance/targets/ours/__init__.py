"""The server and the client that the official suite wants to find, on the public API of this project.

python -m conformance.targets.ours.server --port 3001     # http://127.0.0.1:3001/mcp
python -m conformance.targets.ours.client URL             # the scenario is named by the environment
"""
