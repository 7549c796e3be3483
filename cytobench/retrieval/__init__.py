"""Looking up similar cells: an index over the features of a collection, and what is near a query in it.

    from cytobench.retrieval import Searcher

    searcher = Searcher.open("bccd", "cytofm", registry=registry, home=home, data_dirs=dirs)
    answer = searcher.search(pixels, k=12)                # pixels: uint8 [h, w, 3]; or a box in them
    answer = searcher.search_sample("BloodImage_00001#3", k=12, exclude_group=True)
    [(hit.sample, hit.similarity, hit.label, hit.group, hit.file, hit.box) for hit in answer.hits]
    searcher.crop(answer.hits[0].sample)                  # uint8 [s, s, 3], as the backbone sees it

Opening costs seconds (it builds the index where there is none); every answer after that is quick, and may be
asked for from several threads. Importing this package loads neither torch nor faiss.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cytobench.retrieval.searcher import Answer, Hit, Searcher

__all__ = ["Answer", "Hit", "Searcher"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from cytobench.retrieval import searcher

        return getattr(searcher, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
