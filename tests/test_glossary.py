"""The glossary of the pages is short, sorted, and made of sentences."""

from bench.reports.glossary import GLOSSARY

MOST_TERMS, MOST_WORDS = 45, 30


def test_terms_are_few_sorted_and_in_lower_case() -> None:
    assert list(GLOSSARY) == sorted(term.lower() for term in GLOSSARY)
    assert 0 < len(GLOSSARY) <= MOST_TERMS


def test_every_definition_is_short_and_ends_as_a_sentence() -> None:
    long = {term: len(words.split()) for term, words in GLOSSARY.items() if len(words.split()) > MOST_WORDS}
    assert not long
    assert all(words[0].isupper() or words[0].isdigit() for words in GLOSSARY.values())
    assert all(words.endswith(".") for words in GLOSSARY.values())
