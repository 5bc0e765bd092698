"""Engines that run language and embedding models: one process a replica, OpenAI's API over HTTP on a Unix socket."""
