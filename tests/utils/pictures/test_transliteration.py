import pytest

from utils.pictures.transliteration import to_ascii


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", ""),
        ("Ann-2 O'Neil", "Ann-2 O'Neil"),
        ("Zoë Çelik", "Zoe Celik"),
        ("Zoe\u0308", "Zoe"),
        ("Łukasz Øst", "Lukasz Ost"),
        ("Иван Щукин", "Ivan Shchukin"),
        ("Ольга", "Olga"),
        ("Ελένη", "Eleni"),
        ("김민", "gimmin"),
        ("さくら カタ", "sakura kata"),
        ("محمد", "mhmd"),
        ("שלום", "slvm"),
        ("李明", "u674Eu660E"),
        ("🙂", "u1F642"),
    ],
)
def test_spelling(text, expected):
    assert to_ascii(text) == expected


def test_names_stay_apart():
    names = ["李明", "王明", "明", "김", "이"]
    assert len({to_ascii(name) for name in names}) == len(names)
