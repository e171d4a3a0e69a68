"""What the suites run against: one package for each implementation, each with a `server` and a `client`."""
