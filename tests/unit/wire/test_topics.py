"""Valid topics, by the MQTT specification (MQTT 5, sections 1.5.4 and 4.7)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.wire.topics import id_fault, level_fault, topic_fault

ANY = st.text(st.characters(codec=None, categories=None), max_size=20)


def allowed(text: str) -> bool:
    """Whether MQTT lets a topic name be ``text``, and every broker takes it."""
    points = [ord(character) for character in text]
    reserved = any(0xFDD0 <= p <= 0xFDEF or p & 0xFFFE == 0xFFFE for p in points)
    control = any(p <= 0x1F or 0x7F <= p <= 0x9F for p in points)
    surrogate = any(0xD800 <= p <= 0xDFFF for p in points)
    return bool(text) and not (reserved or control or surrogate or set(text) & set("+#"))


@given(ANY | st.text("ab+#/\0\x1f\x7f\ud800\ufffe\U0001ffff", max_size=4))
def test_topics_levels_and_ids_follow_the_specification(text: str) -> None:
    assert (not topic_fault(text)) == allowed(text)
    assert (not level_fault(text)) == (allowed(text) and "/" not in text)
    assert (not id_fault(text)) == (allowed(text) and "/" not in text and len(text) <= 64)


@pytest.mark.parametrize(
    ("text", "fits"), [("x" * 65_535, True), ("x" * 65_536, False), ("é" * 32_768, False)]
)
def test_a_topic_has_at_most_as_many_bytes_as_its_length_field_can_say(text: str, fits: bool) -> None:
    assert (not topic_fault(text)) == fits


def test_an_id_has_at_most_64_characters() -> None:
    assert not id_fault("x" * 64)
    assert "65 characters, expected 1 to 64" in id_fault("x" * 65)
