"""The inference tables and system tables, as Delta tables: a process that writes them, and how they are read."""
