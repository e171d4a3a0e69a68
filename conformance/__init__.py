"""How well this project keeps to the protocol, measured by others: suites, what they run against, and the reports."""
