"""The data plane: authenticates, routes and forwards every request of the one port. Knows no database."""
