"""The pages: one file each, found by Dash because it calls ``register_page``."""
