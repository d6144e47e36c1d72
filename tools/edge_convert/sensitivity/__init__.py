"""What each tensor or operator alone costs in 8 bits, and which of them need more."""
