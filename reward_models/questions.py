"""When two spellings ask the same question."""

from __future__ import annotations

import hashlib
import unicodedata


def question_digest(question: str) -> bytes:
    """Hash a question without spacing, case and sentence marks; operators make it another one."""
    folded = unicodedata.normalize("NFKC", question).casefold()
    kept = "".join(c for c in folded if not c.isspace() and c not in ".,;:!?'\"")
    return hashlib.blake2b(kept.encode("utf-8", "surrogatepass"), digest_size=16).digest()
