"""Many pairs registered with one method: their table, their figures, and how two methods compare."""
