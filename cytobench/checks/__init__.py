"""Examinations of what a user brings: is it whole, is it sound, what will its scores be worth."""
