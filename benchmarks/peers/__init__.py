"""The same small echo server, written with each peer, and without any (`bare`, the floor)."""
