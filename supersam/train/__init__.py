"""Training a supernet: sandwich rule, SAM's losses, a loop that resumes."""
