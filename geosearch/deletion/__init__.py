"""What is deleted, counted first, and what gets another name."""
