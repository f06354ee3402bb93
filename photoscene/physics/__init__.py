"""What a simulator needs of an object beside its looks: convex colliders, mass, and a place to
stand."""
