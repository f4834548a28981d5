"""What is common to every host: who is connected, what may reach them, and when they end."""
