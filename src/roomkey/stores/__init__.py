"""What is remembered: accounts and revocations, in memory, SQLite or PostgreSQL."""
