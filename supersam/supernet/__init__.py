"""The weight-sharing supernet and the plain encoders it is made of."""
