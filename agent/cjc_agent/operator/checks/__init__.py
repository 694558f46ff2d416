"""What the doctor checks: a module for each group of rules, with the rules and the functions that find them."""
