"""What cannot be right: places where photos were hardly taken, pictures that are there twice."""
