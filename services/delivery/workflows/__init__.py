"""The use cases: take commands in, send, settle, tell, and everything around it."""
