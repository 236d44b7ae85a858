"""The page's address for other machines, and as a code that a phone's camera reads."""

import io
import socket

import segno


def network_address() -> str:
    """The address of this machine in its network, without a packet being sent; its name where it has no network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address for documentation: only the route is looked up
            return probe.getsockname()[0]
        except OSError:
            return socket.gethostname()


def qr_svg(address: str) -> bytes:
    """An address as a picture."""
    file = io.BytesIO()
    segno.make(address, error="m", micro=False).save(file, kind="svg", border=3, scale=6, light="#fff", xmldecl=False)
    return file.getvalue()


def qr_text(address: str) -> str:
    """An address for a terminal, two rows of the code in one of text."""
    file = io.StringIO()
    segno.make(address, error="l", micro=False).terminal(file, border=2, compact=True)
    return file.getvalue()
