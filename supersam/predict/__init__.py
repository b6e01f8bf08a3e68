"""Masks from clicks and boxes with an extracted subnet."""

from supersam.predict.predictor import Predictor, to_segment_anything

__all__ = ["Predictor", "to_segment_anything"]
