from utils.files.unique_names import UniqueNames


def test_each_name_is_given_once():
    unique = UniqueNames()
    assert [unique(name) for name in ("a", "b", "a", "a_2", "a")] == [*("a", "b", "a_2", "a_2_2", "a_3")]
