"""Wire types: the one definition of each object that crosses a process boundary as JSON."""
