"""Calls to the outside: WhatsApp's Graph server and the store of files."""
