"""Hardware-aware architecture search for efficient Segment Anything (SAM) image encoders."""

__version__ = "0.1.0"
