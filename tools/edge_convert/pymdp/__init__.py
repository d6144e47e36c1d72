"""Live pymdp agents: their options, arrays and runs, and how they become a file."""
