"""What routing does: follow events, give chats to agents, rebuild after a loss."""
