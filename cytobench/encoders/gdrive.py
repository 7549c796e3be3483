"""Weights on Google Drive: past the page that warns of large files, and not fooled by the other pages.

Drive shows no digest, so the first download is trusted and every later use is compared with it, unless the
card names a digest.
"""

from __future__ import annotations

import os
import re
import time
import urllib.request
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.client import HTTPResponse
from http.cookiejar import CookieJar
from urllib.parse import parse_qs, quote, urlencode, urljoin, urlsplit

from cytobench.encoders.deposit import Order, Provenance, safe_name
from cytobench.encoders.fetch import keep
from cytobench.errors import WeightsError
from cytobench.transfer import stream
from cytobench.transfer.errand import InterruptedTransferError, RefusedError, WebPageError
from cytobench.transfer.stream import Remote, download, new_opener, request

BASE_VARIABLE = "CYTOBENCH_GDRIVE"
"""Environment variable with another address of the download service, for a mirror or a test."""
_BASE = "https://drive.usercontent.google.com"
_MAX_PAGE = 2**20
_MAX_PAGES = 4


def fetch(order: Order, pinned: Provenance) -> Provenance:
    """Download a `gdrive:<id>` source into its deposit and return its note; raises WeightsError."""
    file_id = order.uri.removeprefix("gdrive:")
    if not re.fullmatch(r"[\w-]{10,}", file_id):
        raise WeightsError(
            f"{order.uri!r} has no Google Drive file id; write gdrive:<id> as in .../file/d/<id>/view."
        )
    page = f"https://drive.google.com/file/d/{file_id}/view"
    visit = _Visit(order, page, os.environ.get(BASE_VARIABLE, "").rstrip("/") or _BASE)
    try:
        url = visit.find_download(file_id)
        remote = Remote(url, page=page, sha256=order.sha256 or pinned.sha256)
        received = download(order, remote, opener=visit.opener)
    except WebPageError as error:
        raise visit.denied("a web page instead of the file") from error
    except RefusedError as error:
        reason = "no such file" if error.code in {404, 410} else f"HTTP {error.code}"
        raise visit.denied(reason) from error
    return keep(order, received, safe_name(received.part.name, "weights.pth"), pinned)


class _Visit:
    """One conversation with Drive, with its cookies."""

    def __init__(self, order: Order, page: str, base: str) -> None:
        self._order, self._page, self._base = order, page, base
        self._cookies = CookieJar()
        self.opener = new_opener(urllib.request.HTTPCookieProcessor(self._cookies))

    def find_download(self, file_id: str) -> str:
        """Follow the pages from the public address to the one that answers with bytes."""
        url = f"{self._base}/download?id={quote(file_id)}&export=download"
        for _ in range(_MAX_PAGES):
            with self._ask(url) as response:
                if response.headers.get_content_type() != "text/html":
                    return url
                if response.headers.get_content_disposition() == "attachment":
                    return url
                following = self._next(response, url)
            if following == url:
                break
            url = following
        raise self.denied("the same page again and again")

    def _ask(self, url: str) -> HTTPResponse:
        """Get a page, trying again where the trouble may pass."""
        pauses = list(stream.PAUSES[:2])
        while True:
            try:
                return request(self.opener, url, {}, self._order.words)
            except InterruptedTransferError as error:
                if not pauses or not error.reached:
                    host = urlsplit(url).netloc
                    raise self._order.out_of_reach(host, str(error), self._page) from error
                time.sleep(pauses.pop(0))

    def _next(self, response: HTTPResponse, url: str) -> str:
        """Return the address behind the warning page; raises WeightsError for any other page."""
        text = response.read(_MAX_PAGE).decode("utf-8", errors="replace")
        seen = _Page.read(text)
        if urlsplit(response.url).netloc.startswith("accounts.") or "ServiceLogin" in response.url:
            raise self.denied("the file is not shared with everybody")
        if seen.form_action is not None:
            query = {**_query(seen.form_action), **seen.inputs}
            return f"{urljoin(response.url, seen.form_action).partition('?')[0]}?{urlencode(query)}"
        if seen.confirm_link:
            return urljoin(response.url, seen.confirm_link)
        for cookie in self._cookies:
            if cookie.name.startswith("download_warning") and cookie.value:
                return f"{url.partition('?')[0]}?{urlencode({**_query(url), 'confirm': cookie.value})}"
        if "quota" in f"{seen.title} {seen.complaint}".lower():
            raise self.denied("its download quota is used up for today")
        raise self.denied(seen.complaint or seen.title or "a page without a title")

    def denied(self, reason: str) -> WeightsError:
        """Return the sentence for a page where the file should be."""
        return WeightsError(
            f"Google Drive does not hand out {self._order.uri} ({reason.rstrip('.')}); try again later, or "
            f"download {self._page} in a browser and put the file into {self._order.deposit.folder}/."
        )


@dataclass
class _Page:
    """What matters on one of Drive's pages."""

    form_action: str | None = None
    inputs: dict[str, str] = field(default_factory=dict)
    confirm_link: str = ""
    title: str = ""
    complaint: str = ""

    @classmethod
    def read(cls, text: str) -> _Page:
        page = cls()
        reader = _Reader(page)
        reader.feed(text)
        reader.close()
        page.title, page.complaint = " ".join(page.title.split()), " ".join(page.complaint.split())
        return page


class _Reader(HTMLParser):
    def __init__(self, page: _Page) -> None:
        super().__init__()
        self._page, self._inside, self._in_form = page, "", False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._in_form = given.get("id") in {"download-form", "downloadForm"}
            if self._in_form:
                self._page.form_action = given.get("action", "")
        elif tag == "input" and self._in_form and given.get("name"):
            self._page.inputs[given["name"]] = given.get("value", "")
        elif tag == "a" and "confirm=" in given.get("href", ""):
            self._page.confirm_link = given["href"]
        elif tag == "title":
            self._inside = "title"
        elif tag == "p" and given.get("class") in {"uc-error-caption", "uc-error-subcaption"}:
            self._inside = "complaint"

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._in_form = False
        if tag in {"title", "p"}:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "title":
            self._page.title += data
        elif self._inside == "complaint":
            self._page.complaint += f" {data}"


def _query(url: str) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(urlsplit(url).query).items()}
