"""What is tried with a server."""
