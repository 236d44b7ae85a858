"""The play app: a world in the browser, with live sound. `mlxworld play --world pong`."""
