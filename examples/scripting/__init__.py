"""What the scripts share: their command lines, bars and last words."""
