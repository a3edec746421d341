"""The networks of the toy world's checkpoint, trained by ``python -m training.toyworld`` on what ``toyworld`` draws."""
