"""Games of StarCraft II: where scouts, armies and their units go, read from replays."""
