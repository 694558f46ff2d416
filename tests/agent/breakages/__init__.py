"""The ways in which a healthy node is broken, one at a time: a module for each group of the doctor's rules."""
