class LocalStackError(RuntimeError):
    """Something a person has to see to; the message says what, why and where to look."""
