"""Checks whether a model could be served, by doing once what a deployment does, without an endpoint."""
