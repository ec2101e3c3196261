"""The image that every component runs in, as compiled into the pipeline."""

from crossover.settings import get_settings

IMAGE = get_settings().image
