"""Weights over HTTP: a plain address becomes a file in its deposit."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import unquote, urlsplit

from cytobench.encoders.deposit import Order, Provenance, safe_name
from cytobench.transfer.errand import writing
from cytobench.transfer.stream import Received, Remote, download


def fetch(order: Order, pinned: Provenance) -> Provenance:
    """Download an `http(s)://` source into its deposit and return its note; raises WeightsError."""
    address = urlsplit(order.uri)
    expected = order.sha256 or pinned.sha256
    if address.scheme == "http" and not expected:
        order.reporter.warn(
            f"{order.uri} is not encrypted and its card names no sha256: it may be anybody's file"
        )
    received = download(order, Remote(order.uri, page=order.uri, sha256=expected))
    return keep(order, received, safe_name(unquote(address.path), "weights"), pinned)


def keep(order: Order, received: Received, name: str, pinned: Provenance) -> Provenance:
    """Write the note of a verified file, then give it its final name: a kill between the two is made good."""
    folder, part = order.deposit.folder, received.part
    note = replace(pinned, file=name, sha256=received.sha256, size=part.have)
    order.deposit.write(note)
    with writing(folder, order.words):
        part.path.replace(folder / name)
        part.forget()
    return note
