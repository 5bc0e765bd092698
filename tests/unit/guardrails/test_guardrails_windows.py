"""Long texts cut into pieces: nothing is lost between two of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from moorage.guardrails.windows import segments, sentences

TEXTS = st.text(alphabet="ab12 .!?\n。", max_size=400)


@given(TEXTS, st.integers(5, 60), st.integers(0, 20))
def test_segments_cover_the_text_once_and_show_their_surroundings(text: str, size: int, margin: int) -> None:
    found = list(segments(text, size=size, margin=margin))
    assert "".join(text[one.start : one.end] for one in found) == text
    for one in found:
        assert one.text == text[one.offset : one.offset + len(one.text)]
        assert one.offset <= one.start < one.end <= one.offset + len(one.text)


@given(TEXTS)
def test_sentences_keep_every_character_but_white_space(text: str) -> None:
    assert "".join("".join(sentences(text)).split()) == "".join(text.split())


def test_sentences_are_cut_at_their_ends() -> None:
    text = "This is the first sentence. Is this the second sentence? Yes. It is followed by a third one!"
    assert sentences(text) == [
        "This is the first sentence.", "Is this the second sentence?", "Yes. It is followed by a third one!",
    ]  # fmt: skip
    assert sentences("") == sentences(" \n ") == []
    assert max(map(len, sentences("word " * 1000))) <= 300
    assert max(map(len, sentences("x" * 1000))) <= 300
