"""CUPID: one image of an object to a canonical object and the camera pose that shows it so."""
