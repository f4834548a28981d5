"""What is remembered: accounts today."""
