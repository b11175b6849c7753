"""How fast models run here, and how much of what skipping experts could gain is gained."""
