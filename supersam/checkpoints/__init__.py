"""Files that hold supernets and subnets: safetensors, nothing in them can be executed."""
