"""Images with masks: packs in COCO format, seeded shapes, transforms and prompts."""
