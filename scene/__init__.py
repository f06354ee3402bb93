"""Ground floor: the values that flow through photoscene, cameras, frames and the content store."""
