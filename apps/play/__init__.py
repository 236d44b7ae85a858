"""The play app: a world in the browser, with live sound. `python -m apps.play --world pong`."""
