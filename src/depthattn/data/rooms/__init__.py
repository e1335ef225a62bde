"""The renderer of SyntheticRooms: furniture -> layout -> raycast -> shading -> sensor. Private to it."""
