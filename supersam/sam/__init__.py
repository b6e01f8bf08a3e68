"""SAM around an encoder: prompt encoder and mask decoder of segment-anything."""
