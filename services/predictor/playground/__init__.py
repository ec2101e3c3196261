"""The page at `/`: prompts with holes, a canvas that fills while one watches, and another server beside it."""
