"""What several cells say together: how the crossing moves, scaling laws, what to choose, what to run next."""
