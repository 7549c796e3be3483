"""Pages are whole, ask nobody for anything, and show other people's text as text."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from jinja2 import UndefinedError
from PIL import Image

from cytobench.pictures.page import picture_uri, render

HOSTILE = "\"><script>alert('x')</script><img src=https://example.com/x>"


@pytest.fixture
def template(tmp_path: Path) -> Path:
    text = '{% extends "page.html" %}{% block content %}<p title="{{ label }}">{{ label }}</p>{% endblock %}'
    (tmp_path / "mine.html").write_text(text)
    return tmp_path


def test_other_peoples_text_is_escaped(template: Path) -> None:
    made = render("mine.html", {"title": HOSTILE, "label": HOSTILE}, folder=template)
    assert "<script>alert" not in made
    assert "<img src=https" not in made


def test_a_page_loads_nothing_from_elsewhere(template: Path) -> None:
    made = render("mine.html", {"title": "a", "label": "b"}, folder=template)
    assert "default-src 'none'" in made
    assert not [word for word in ("http://", "https://", "@import", "url(") if word in made]


def test_a_name_that_was_not_given_is_an_error(template: Path) -> None:
    with pytest.raises(UndefinedError):
        render("mine.html", {"title": "a"}, folder=template)


def test_a_picture_comes_back_from_its_uri() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    head, data = picture_uri(pixels, lossless=True).split(",")
    assert head == "data:image/webp;base64"
    assert (np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) == pixels).all()
    small = Image.open(io.BytesIO(base64.b64decode(picture_uri(pixels, side=30).split(",")[1])))
    assert small.size == (30, 20)
