"""The network of `map_points lite`: depth, what has depth, gravity and focal length of a photo."""
