"""Intersections: recorded cars and their streets, lanes, and the manoeuvres that forecasts are judged by."""
