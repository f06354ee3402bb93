"""What several map_points backends need."""
