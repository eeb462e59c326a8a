"""The commands: each parses, calls one function of the API, and prints a summary."""
