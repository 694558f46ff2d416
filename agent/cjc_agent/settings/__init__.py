"""What the operator sets: the one parameter table and everything that is made from it."""
