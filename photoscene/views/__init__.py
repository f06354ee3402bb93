"""Images of placed meshes from any side: where the viewer stands, the light, stills, animations."""
