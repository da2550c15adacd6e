"""Where people go: rewards of places learned from recorded paths, forecasts of paths, and how good they are."""
