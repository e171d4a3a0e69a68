"""What is tried with a client."""
