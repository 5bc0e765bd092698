"""Checks of what goes into language models and comes out of them: the guardrails of the AI Gateway."""
