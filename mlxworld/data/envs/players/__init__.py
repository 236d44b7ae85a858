"""Who knows a world, a file a world: PLAYERS by name, and MIX, the shares of all players in `mixed`."""
