"""The smallest image and the shortest sound that programs can open."""

from base64 import b64decode

__all__ = ["PNG", "WAV"]

PNG = b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==")
"""One red pixel."""

WAV = b64decode("UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQIAAACAgA==")
"""Two samples of silence: 8 kHz, mono, 8 bits."""
