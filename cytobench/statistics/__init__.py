"""How sure a score can be: intervals over groups, paired tests, ranks with ties. Arrays in, numbers out."""
