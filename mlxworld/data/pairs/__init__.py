"""What belongs together in several modalities: texts, sounds, pictures and videos of one thing."""
