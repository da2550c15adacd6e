"""A planner under test among styled traffic: outcomes by style, whose fault crashes are, and a search for trouble."""
