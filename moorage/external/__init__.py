"""Models of other providers: from a client's request to the provider's form and back, without any I/O."""
