"""Examinations of what people bring and of the machine they bring it to; each answers with findings."""
