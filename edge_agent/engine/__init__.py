"""Floor 2: a pure library of discrete active-inference agents in 8 bits."""
